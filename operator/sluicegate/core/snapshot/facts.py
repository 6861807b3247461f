"""The facts about one ModelDeployment at one moment: the input of every decision.

Facts are small, typed and comparable. They are read from an API object once, when the object arrives (see `parse`). So
decisions never read raw dictionaries, and a change of an object that changes no fact causes no reconcile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.traffic import Header, ParentRef
from sluicegate.config.settings import Settings
from sluicegate.core.models.resolution import Newest, ResolvedModel
from sluicegate.core.models.signature import Signature
from sluicegate.core.snapshot.analysis_result import Reading
from sluicegate.core.snapshot.redaction import printable
from sluicegate.core.snapshot.revision_spec import Intent


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a resource from being what its spec says, described for its owner."""

    reason: Reason
    """One CamelCase word, used as the reason of a condition."""
    message: str
    """A sentence that says what is wrong and how to fix it."""
    waits_for_user: bool = True
    """Whether nothing changes until the user acts (Stalled). Otherwise it may pass without an action (Reconciling)."""
    lacks_room: bool = False
    """Whether a pod waits for room that pods like it take on nodes. See `whenFull` and `capacity`."""

    def __post_init__(self) -> None:
        """Make the message printable, because it may quote containers, the scheduler or admission webhooks."""
        object.__setattr__(self, "message", printable(self.message))


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod of a revision."""

    name: str
    revision: RevisionHash | None
    """None without the label. Such a pod is in no snapshot."""
    ready: bool
    deleting: bool
    problem: Problem | None = None
    digest: str | None = None
    """Digest of the artifacts that its init container fetched."""
    signature: Signature | None = None
    """Signature of the model that its init container fetched."""
    waiting_since: str = ""
    """When the pod was created, or last stopped being ready. Empty while it is ready."""
    room: str = ""
    """Digest of what the pod asks of a node. Pods with the same digest can replace each other on a node."""
    address: str = field(default="", compare=False)
    """HOST:PORT of its scoring server, or empty while the pod has no IP. No decision depends on it, so a change causes
    no reconcile."""
    scheduled: bool = True
    """Whether the pod is on a node."""
    unrequested: frozenset[str] = frozenset()
    """Those of `cpu` and `memory` that one of its containers has no request for."""
    unrequested_sidecars: frozenset[tuple[str, str]] = frozenset()
    """The resource and the container of each such missing request, where the scoring container has it."""
    uid: str = field(default="", compare=False)
    """The pod's UID, by which its scoring server recognizes the operator as a reader."""
    ended: bool = False
    """Whether the pod has ended for good (phase Failed or Succeeded). It may stay in the API long after that."""
    crash: Problem | None = None
    """Why its container ended before, where the pod is ready again."""
    ready_since: str = ""
    """When it became ready. Known only together with `crash`."""
    crashes: int = 0
    """How often its model container has ended, while the pod has a problem."""


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """The Deployment of a revision."""

    replicas: int
    """spec.replicas."""
    current: int
    """status.replicas: the number of pods that exist."""
    ready: int
    replicas_ours: bool
    """Whether the operator's field manager owns spec.replicas, so that dropping the field would set it to 1."""
    replica_failure: str | None = None
    """The message with which the API server refused a pod, for example because of a quota, PodSecurity or an admission
    webhook."""
    refused_containers: tuple[tuple[str, str], ...] = ()
    """The containers that `replica_failure` names, as (part of the pod's spec, name)."""


@dataclass(frozen=True, slots=True)
class AutoscalerFacts:
    """The HPA of a revision."""

    current: int
    desired: int
    inactive: str | None = None
    """The HPA's message about why it cannot measure (condition ScalingActive=False). It is shown, never interpreted."""
    inactive_since: datetime | None = None
    utilization: frozenset[str] = frozenset()
    """The resources, such as `cpu`, that it scales by as a percentage of the request. Without a request it cannot."""


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """The stable Service."""

    revision: RevisionHash | None
    """The hash in its selector. None when it selects the pods of all revisions."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """The mirroring of requests to a revision, whose responses the gateway discards."""

    revision: RevisionHash
    percent: int
    """Percent of the requests that are mirrored, 1 to 100."""


@dataclass(frozen=True, slots=True)
class Share:
    """A traffic share: the weight, match and mirror of one revision."""

    weight: int = 0
    """Percent of the requests that match no header rule."""
    matches: tuple[Header, ...] = ()
    """Header matches. A request with any one of them goes to the revision."""
    mirror: int = 0
    """Percent of the requests that are mirrored to the revision."""

    @property
    def none(self) -> bool:
        """Tell whether no request reaches the revision, not even a mirrored one."""
        return not (self.weight or self.matches or self.mirror)

    @property
    def load(self) -> int:
        """Return the percent of all requests that the pods must be able to serve.

        Requests that a header match sends are not counted, because their number cannot be known.
        """
        return max(self.weight, self.mirror)


@dataclass(frozen=True, slots=True)
class Split:
    """The traffic split of a route.

    It says which revision receives which requests, by revision hash.
    """

    weights: Mapping[RevisionHash, int] = field(default_factory=dict)
    """Percent of the requests that match no header rule, by revision. No value is 0, and the values sum to 100, or
    there are none."""
    matched: RevisionHash | None = None
    """The revision that receives every request with one of `matches`."""
    matches: tuple[Header, ...] = ()
    mirror: Mirror | None = None

    @property
    def revisions(self) -> frozenset[RevisionHash]:
        """Return every revision that receives any request, mirrored ones included."""
        others = (self.matched, self.mirror.revision if self.mirror is not None else None)
        return frozenset(self.weights) | {revision for revision in others if revision is not None}

    def weight(self, revision: RevisionHash | None) -> int:
        """Return the percent of the requests that go to `revision`."""
        return self.weights.get(revision, 0) if revision is not None else 0

    def share(self, revision: RevisionHash | None) -> Share:
        """Return the share that `revision` receives."""
        if revision is None:
            return Share()
        mirrored = self.mirror.percent if self.mirror is not None and self.mirror.revision == revision else 0
        return Share(self.weight(revision), self.matches if self.matched == revision else (), mirrored)


@dataclass(frozen=True, slots=True)
class ParentReport:
    """One entry of the HTTPRoute's status.parents: what one controller reports for one parentRef."""

    ref: ParentRef
    """The parentRef, always with a namespace."""
    controller: str
    """The controller that wrote the entry."""
    acceptance: bool | str | None
    """True where it accepts the current generation and resolves its references, a sentence where it does not, and None
    where it has not processed that generation yet."""
    serves: bool
    """Whether it accepted the last generation that it reported on."""


@dataclass(frozen=True, slots=True)
class RouteParent:
    """One parentRef of the HTTPRoute, and what its gateway reports."""

    ref: ParentRef
    """The parentRef, always with a namespace."""
    accepted: bool
    """Whether the gateway has accepted the current generation and resolved its references."""
    serving: bool
    """Whether the gateway accepted the last generation that it reported on.

    For a parentRef that it has not reported on, its other reports for the same Gateway count.
    """


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """The HTTPRoute."""

    split: Split
    """The traffic split in its spec."""
    accepted: bool
    """Whether every parent has accepted the current generation and resolved its references."""
    refusal: str | None = None
    """The message of a parent that does not accept the route."""
    parents: tuple[RouteParent, ...] = ()
    serving: bool = False
    """Whether a gateway accepted the last generation that it reported on, perhaps by a former parentRef."""
    hostnames: tuple[str, ...] = ()
    """The host names in its spec. When empty, it has all host names of its listeners."""
    path_prefixes: tuple[str, ...] = ()
    """The path prefixes that its rules match. There are several while the prefix changes."""
    reports: tuple[ParentReport, ...] = ()
    """What controllers report, also those that the Gateways are not of. See `route_reports`."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One listener of a Gateway."""

    name: str
    protocol: str
    port: int
    hostname: str | None = None
    """The host name that it accepts, which may begin with `*.`. None accepts every host name."""
    namespaces: str = "Selector"
    """The namespaces that it accepts routes from: `All`, `Same`, `None`, or `Selector` for some of them."""
    programmed: bool = True
    """False where the gateway reports that the listener does not work."""


@dataclass(frozen=True, slots=True)
class GatewayClassFacts:
    """The GatewayClass of a Gateway."""

    controller: str = ""
    features: frozenset[str] = frozenset()
    """The features that it lists as supported."""


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """One Gateway that the route attaches to."""

    namespace: str
    name: str
    exists: bool
    address: str | None = None
    """The first address in its status."""
    listeners: tuple[Listener, ...] = ()
    gateway_class: str = ""
    features: frozenset[str] = frozenset()
    """The features that its GatewayClass lists in status.supportedFeatures. Empty where the class lists none."""

    controller: str = ""
    """The controller that its GatewayClass names. Empty where the operator cannot read the class."""
    vouched: frozenset[str] = frozenset()
    """The features that the operator's settings name for a class that lists none, such as Envoy Gateway's."""

    def offers(self, feature: str) -> bool:
        """Tell whether `feature` is known to be supported.

        An optional feature is used only where this is true.
        """
        return feature in (self.features or self.vouched)

    def lacks(self, feature: str) -> bool:
        """Tell whether the GatewayClass lists its features, but not `feature`."""
        return bool(self.features) and feature not in self.features


@dataclass(frozen=True, slots=True)
class Rival:
    """Another resource that claimed a path first."""

    name: str
    """NAMESPACE/NAME."""
    path: str
    """The path that both claim."""


@dataclass(frozen=True, slots=True)
class Revision:
    """An immutable revision as its ControllerRevision keeps it."""

    hash: RevisionHash
    number: int
    model: str
    """What the revision serves, for display: NAME/VERSION or a URI."""
    version: str | None
    source: str
    request_timeout: float | None = None
    """Time limit of requests, in seconds, that the pod template passes to the scoring server, if any."""


@dataclass(frozen=True, slots=True)
class DesiredRevision:
    """The revision that the spec resolves to, or the problem that prevents it."""

    resolved: ResolvedModel | None = None
    intent: Intent | None = None
    problem: Problem | None = None
    follow_problem: Problem | None = None
    """Why the operator cannot follow the model now. The version that it resolved before stays. A problem that waits for
    the user means that the alias or the version no longer exists. Any other problem is one of the registry."""
    again: bool = False
    """Whether the operator has to retry, because no notification says when `follow_problem` is over."""
    newest: Newest | None = None
    """The highest version of the registered model, where spec.model.staleAgainst asks for it and it is known."""

    @property
    def revision(self) -> RevisionHash | None:
        """Return the hash of the revision, or None when it cannot be created."""
        return self.intent.hash if self.intent is not None and self.problem is None else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All facts about one ModelDeployment, and the current time."""

    now: datetime
    resource: ModelDeployment
    settings: Settings
    desired: DesiredRevision
    """The revision that the base of the spec asks for."""
    desired_canary: DesiredRevision | None = None
    """The revision that spec.canary asks for. None without spec.canary."""
    revisions: Mapping[RevisionHash, Revision] = field(default_factory=dict)
    deployments: Mapping[RevisionHash, DeploymentFacts] = field(default_factory=dict)
    autoscalers: Mapping[RevisionHash, AutoscalerFacts] = field(default_factory=dict)
    pods: Mapping[RevisionHash, tuple[PodFacts, ...]] = field(default_factory=dict)
    endpoints: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The names of ready pods by Service name, as EndpointSlices list them."""
    service: ServiceFacts | None = None
    route: RouteFacts | None = None
    gateways: tuple[GatewayFacts, ...] = ()
    """The Gateways that the spec or the settings name. When empty, there is no route."""
    former_gateways: tuple[GatewayFacts, ...] = ()
    """The Gateways that the route is attached to, and that neither the spec nor the settings name any longer."""
    gateway_api: bool = True
    """Whether the cluster has the kinds of the Gateway API."""
    metrics_api: bool = True
    """Whether the cluster serves the metrics API, from which HPAs read the use of cpu and memory."""
    rival: Rival | None = None
    """The resource that a path belongs to which the spec asks for."""
    route_taken: bool = False
    """Whether the route has a path that belongs to another resource."""
    reading: Reading | None = None
    """The result of the analysis. None where no revision is analyzed, or where there is no result yet."""

    @property
    def all_desired(self) -> tuple[DesiredRevision, ...]:
        """Return the revisions that the base of the spec and spec.canary ask for."""
        return tuple(revision for revision in (self.desired, self.desired_canary) if revision is not None)

    @property
    def follow_problems(self) -> tuple[Problem, ...]:
        """Return the problems with following the models of the base and of the canary."""
        problems = (desired.follow_problem for desired in self.all_desired)
        return tuple(problem for problem in problems if problem is not None)

    def child(self, revision: RevisionHash) -> str:
        """Return the name of the children of a revision."""
        return names.child_name(self.resource.metadata.name, revision)
