"""What is known about one ModelDeployment at one moment: the input of every decision.

Facts are small, typed and comparable. They are read from API objects once (see `observe`), when the objects arrive, so
that decisions never dig in raw dictionaries, and so that a change of an object which changes no fact wakes nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sluicegate.api import names
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import Role
from sluicegate.api.traffic import Header
from sluicegate.config.settings import Settings
from sluicegate.core.models.resolution import Newest, ResolvedModel
from sluicegate.core.models.signature import Signature
from sluicegate.core.snapshot.analysis_result import Reading
from sluicegate.core.snapshot.revision_spec import Intent


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that stops a resource from being what its spec says, in words for its owner."""

    reason: str
    """One CamelCase word, as a condition's reason."""
    message: str
    """A sentence that says what is wrong and what to do."""
    waits_for_user: bool = True
    """Whether nothing will change until somebody acts (Stalled), or it may pass by itself (Reconciling)."""
    lacks_room: bool = False
    """Whether a pod waits for room that others take on nodes which could run it: what `whenFull` is about."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod of a revision."""

    name: str
    revision: str
    ready: bool
    deleting: bool
    problem: Problem | None = None
    digest: str | None = None
    """Digest of the artifacts that its init container fetched."""
    signature: Signature | None = None
    """Of the model that its init container fetched."""
    waiting_since: str = ""
    """When it was made, or ceased to be ready."""
    room: str = ""
    """Digest of what it asks of a node: pods with the same one can take each other's place."""
    address: str = field(default="", compare=False)
    """HOST:PORT of its scoring server; empty while it has no IP. No decision depends on it, so it wakes nobody."""
    uid: str = field(default="", compare=False)
    """What the scoring server knows its readers by."""


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """The Deployment of a revision."""

    revision: str
    replicas: int
    """spec.replicas."""
    current: int
    """status.replicas: pods that exist."""
    ready: int
    replicas_ours: bool
    """Whether our field manager owns spec.replicas (and so dropping it would set it to 1)."""
    replica_failure: str | None = None
    """What the API server said when it refused a pod: a quota, PodSecurity, an admission webhook."""


@dataclass(frozen=True, slots=True)
class AutoscalerFacts:
    """The HPA of a revision."""

    revision: str
    current: int
    desired: int
    inactive: Problem | None = None
    """Why it cannot measure (condition ScalingActive=False)."""
    inactive_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """The stable Service."""

    revision: str | None
    """Hash in its selector; None when it selects the pods of every revision (widened)."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """Copies of requests, whose answers are discarded."""

    revision: str
    percent: int
    """Share of the requests that are copied, 1 to 100."""


@dataclass(frozen=True, slots=True)
class Split:
    """Who gets which requests of a route, by revision hash."""

    weights: Mapping[str, int] = field(default_factory=dict)
    """Percent of the requests that nothing else claims; never 0, and they sum to 100 (or there are none)."""
    matched: str | None = None
    """The revision that requests with one of `matches` go to, wholly."""
    matches: tuple[Header, ...] = ()
    mirror: Mirror | None = None

    @property
    def revisions(self) -> frozenset[str]:
        """Every revision that any request reaches."""
        others = (self.matched, self.mirror.revision if self.mirror is not None else None)
        return frozenset(self.weights) | {each for each in others if each is not None}

    def weight(self, revision: str | None) -> int:
        """Percent of the requests that go to `revision`."""
        return self.weights.get(revision or "", 0)


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """The HTTPRoute."""

    split: Split
    """As its spec has it."""
    accepted: bool
    """Whether every parent has accepted the present generation, references resolved."""
    refusal: str | None = None
    """What a parent said against it."""


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """One Gateway that the route attaches to."""

    namespace: str
    name: str
    exists: bool
    address: str | None = None
    """First address in its status."""
    listeners: tuple[tuple[str, str, int], ...] = ()
    """(name, protocol, port) of each listener."""
    gateway_class: str = ""
    features: frozenset[str] = frozenset()
    """What its class says it supports (GatewayClass status.supportedFeatures); empty where the class says nothing."""

    vouched: frozenset[str] = frozenset()
    """What the platform's settings say for classes that say nothing, as Envoy Gateway's."""

    def offers(self, feature: str) -> bool:
        """Whether the class says that it supports `feature`: what an optional feature needs before it is used."""
        return feature in (self.features or self.vouched)

    def lacks(self, feature: str) -> bool:
        """Whether the class publishes what it supports, and `feature` is not among it."""
        return bool(self.features) and feature not in self.features


@dataclass(frozen=True, slots=True)
class Revision:
    """An immutable revision as its ControllerRevision keeps it."""

    hash: str
    number: int
    model: str
    """What it serves, for people: NAME/VERSION or a URI."""
    version: str | None
    source: str


@dataclass(frozen=True, slots=True)
class DesiredRevision:
    """The revision that the spec asks for, or why there is none."""

    resolved: ResolvedModel | None = None
    intent: Intent | None = None
    problem: Problem | None = None
    trouble: Problem | None = None
    """Why nothing newer is known of a followed model; what was resolved before stays. One that waits for the user is an
    alias (or version) that is gone; any other is the registry's."""
    again: bool = False
    """Whether the trouble has to be tried again, because nobody will say when it is over."""
    newest: Newest | None = None
    """The registered model's highest version, where spec.model.staleAgainst asks for it and it is known."""

    @property
    def revision(self) -> str | None:
        """Its hash; None when it cannot be made."""
        return self.intent.hash if self.intent is not None and self.problem is None else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All facts about one ModelDeployment, and now."""

    now: datetime
    resource: ModelDeployment
    settings: Settings
    desired: DesiredRevision
    """What the base of the spec asks for."""
    desired_canary: DesiredRevision | None = None
    """What spec.canary asks for; None where there is no such field."""
    revisions: Mapping[str, Revision] = field(default_factory=dict)
    deployments: Mapping[str, DeploymentFacts] = field(default_factory=dict)
    autoscalers: Mapping[str, AutoscalerFacts] = field(default_factory=dict)
    pods: Mapping[str, tuple[PodFacts, ...]] = field(default_factory=dict)
    endpoints: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Ready pod names by Service name, as EndpointSlices list them."""
    service: ServiceFacts | None = None
    route: RouteFacts | None = None
    gateways: tuple[GatewayFacts, ...] = ()
    """Gateways that are named, in spec or settings; empty means there is no route."""
    gateway_api: bool = True
    """Whether the cluster has the Gateway API's kinds."""
    rival: str | None = None
    """NAMESPACE/NAME of an older resource that claims the same host and path."""
    reading: Reading | None = None
    """What the analysis has come to; None where nothing is judged, or nothing is known yet."""

    @property
    def all_desired(self) -> tuple[DesiredRevision, ...]:
        """What the base of the spec and spec.canary ask for."""
        return tuple(each for each in (self.desired, self.desired_canary) if each is not None)

    def live_pods(self, revision: str | None) -> tuple[PodFacts, ...]:
        """Pods of a revision that are not on their way out."""
        return tuple(pod for pod in self.pods.get(revision or "", ()) if not pod.deleting)

    def able_pods(self, revision: str | None) -> int:
        """How many pods of a revision are ready and listed in the EndpointSlices of its own Service."""
        return len(self.endpoints.get(self.child(revision or ""), frozenset()) & self.ready_pods(revision))

    def child(self, revision: str) -> str:
        """Name of the children of a revision."""
        return names.child_name(self.resource.metadata.name, revision)

    def recorded(self, role: Role) -> tuple[str, ...]:
        """Hashes of the revisions that status has in a role, in its order."""
        return tuple(entry.revision for entry in self.resource.status.revisions if entry.role == role)

    @property
    def stable(self) -> str | None:
        """The revision that serves: as status says, or as the Service shows where the status was lost."""
        for revision in self.recorded(Role.STABLE):
            if revision in self.revisions:
                return revision
        if not self.resource.status.revisions and self.service is not None:
            found = self.service.revision
            if found in self.revisions and self.ready_pods(found):
                return found
        return None

    @property
    def split(self) -> Split:
        """The route's split; an empty one while there is no route."""
        return self.route.split if self.route is not None else Split()

    @property
    def routed(self) -> bool:
        """Whether requests come in by a route; without a gateway the Service is the only way in."""
        return bool(self.gateways)

    def ready_pods(self, revision: str | None) -> frozenset[str]:
        """Names of the pods of a revision that are ready and not on their way out."""
        return frozenset(pod.name for pod in self.live_pods(revision) if pod.ready)
