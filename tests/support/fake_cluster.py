"""An idealized cluster around one ModelDeployment, for tests of decisions.

`World` holds raw API objects as the API server would. The test decides when each actor of the cluster acts: the
Deployment controller, the kubelet, the EndpointSlice controller, the gateway and the autoscaler. `reconcile` does what
the runtime does, with the real renderer and the real diff. It checks every invariant at each step.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sluicegate.api import names
from sluicegate.api.resource import ModelDeployment, decode
from sluicegate.api.status import Condition, ModelDeploymentStatus, RevisionStatus
from sluicegate.config.settings import Settings, build
from sluicegate.core.decide.decision import decide
from sluicegate.core.models.resolution import Newest, ResolvedModel
from sluicegate.core.models.signature import Signature
from sluicegate.core.plan.types import Plan
from sluicegate.core.rollout.canary import canary_view
from sluicegate.core.snapshot import parse, parse_gateway
from sluicegate.core.snapshot.analysis_result import Reading
from sluicegate.core.snapshot.assessment import assess
from sluicegate.core.snapshot.facts import (
    DesiredRevision,
    GatewayFacts,
    Listener,
    PodFacts,
    Problem,
    Rival,
    Snapshot,
    Split,
)
from sluicegate.core.snapshot.revision_spec import intent_of
from sluicegate.core.status.compose import compose

from tests.support import plan_invariants
from tests.support.api_objects import ApiObjects

NAME, NAMESPACE = "churn", "shop"
START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SETTINGS = build(
    [("test", {"scorerImage": "scorer:1", "registries": {"default": {"trackingUri": "http://mlflow:5000"}}})]
)


@dataclass(frozen=True, slots=True)
class Pod:
    """The facts about a pod that decisions use."""

    name: str
    revision: str
    ready: bool = False
    deleting: bool = False
    problem: Problem | None = None
    digest: str | None = None
    room: str = ""
    since: str = ""
    """When the pod was created, or when it stopped being ready."""
    unrequested: frozenset[str] = frozenset()
    unrequested_sidecars: frozenset[tuple[str, str]] = frozenset()
    ended: bool = False
    """Whether it was evicted, refused or lost. It stays in the list, and another pod replaces it."""
    crash: Problem | None = None
    """The problem that it had before it became ready again."""
    ready_since: str = ""
    crashes: int = 0


class World(ApiObjects):
    """The simulated cluster. The module docstring describes it."""

    def __init__(self, version: int = 1, settings: Settings = SETTINGS, **spec: Any) -> None:
        super().__init__(NAME)
        self.settings = settings
        self.spec: dict[str, Any] = {"model": {"uri": f"models:/churn/{version}"}, **spec}
        self.annotations: dict[str, str] = {}
        self.generation = 1
        self.status = ModelDeploymentStatus()
        self.now = START
        self.model_problem: Problem | None = None
        self.follow_problem: Problem | None = None
        self.newest: Newest | None = None
        self.points_to: str | None = None
        """The version that the URI of `spec.model` resolves to, where it is not the one that the URI names."""
        self.pods: dict[str, Pod] = {}
        self.slices: dict[str, frozenset[str]] = {}
        self.missing_gateway = False
        self.missing: set[str] = set()
        """The names of the Gateways that do not exist, where others do."""
        self.listeners: tuple[Listener, ...] = (Listener("http", "HTTP", 80),)
        """The listeners of every Gateway."""
        self.gateway_api = True
        self.metrics_api = True
        self.rival: Rival | None = None
        self.route_taken = False
        self.refusal: str | None = None
        self.features: frozenset[str] = frozenset()
        self.programmed = Split()
        """The weights, matches and mirrors that the gateway really applies: those of the last route that it accepted.
        """
        self.write_problem: Problem | None = None
        """The problem of a write that the API server does not accept."""
        self.replica_failure: dict[str, str] = {}
        self.signatures: dict[str, Signature] = {}
        """By revision, the signature that its pods report for their model."""
        self.reading: Reading | None = None
        """The latest result of the analysis."""
        self.plan = Plan()
        self._serial = 0
        self.served_at: dict[str, datetime] = {}
        self._unready = False

    # What a user does.

    def edit(self, **fields: Any) -> World:
        """Change fields of the spec. None removes a field."""
        before = copy.deepcopy(self.spec)
        for key, value in fields.items():
            if value is None:
                self.spec.pop(key, None)
            else:
                self.spec[key] = value
        self.generation += before != self.spec
        return self

    def serve(self, version: int) -> World:
        """Request another version of the model."""
        return self.edit(model={"uri": f"models:/churn/{version}"})

    def gateway(self, on: bool = True) -> World:
        """Set a Gateway in the spec, or remove it."""
        return self.edit(traffic={"gateway": {"parentRefs": [{"name": "gate"}]}} if on else None)

    def later(self, seconds: float) -> World:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        return self

    # What the operator observes.

    @property
    def resource(self) -> ModelDeployment:
        metadata = {
            "name": NAME,
            "namespace": NAMESPACE,
            "uid": "u-1",
            "generation": self.generation,
            "annotations": self.annotations,
        }
        decoded = decode({"metadata": metadata, "spec": self.spec})
        return ModelDeployment(decoded.metadata, decoded.spec, self.status)

    def canary(self, version: int | None, weight: int = 10, **fields: Any) -> World:
        """Declare a canary, or remove it."""
        wanted = {"weight": weight, "model": {"uri": f"models:/churn/{version}"}, **fields}
        return self.edit(canary=wanted if version is not None else None)

    def desired_canary(self) -> DesiredRevision | None:
        """Return the revision that spec.canary resolves to."""
        view = canary_view(self.resource)
        return self.desired(view) if view is not None else None

    def desired(self, resource: ModelDeployment | None = None) -> DesiredRevision:
        """Return the revision that the spec resolves to."""
        resource = resource or self.resource
        if self.model_problem is not None:
            return DesiredRevision(problem=self.model_problem)
        uri = resource.spec.model.uri
        version = uri.rpartition("/")[2]
        if self.points_to is not None and uri == self.resource.spec.model.uri:
            version = self.points_to
        registered = f"2019-01-{int(version):02}T00:00:00Z"
        resolved = ResolvedModel(uri, f"mlflow-artifacts:/churn/{version}", "churn", version, registered_at=registered)
        return DesiredRevision(
            resolved, intent_of(resource, resolved, "default"), follow_problem=self.follow_problem, newest=self.newest
        )

    def hash_of(self, version: int) -> str:
        """Return the revision hash of a version under the current spec."""
        other = copy.deepcopy(self)
        other.model_problem = None
        revision = other.serve(version).desired().revision
        assert revision is not None
        return revision

    def snapshot(self) -> Snapshot:
        """Return all facts, gathered by the real observers."""
        resource = self.resource
        pods: dict[str, tuple[PodFacts, ...]] = {}
        for pod in self.pods.values():
            facts = PodFacts(
                pod.name,
                pod.revision,
                pod.ready,
                pod.deleting,
                None if pod.ready else pod.problem,
                pod.digest,
                self.signatures.get(pod.revision),
                "" if pod.ready else pod.since,
                pod.room,
                unrequested=pod.unrequested,
                unrequested_sidecars=pod.unrequested_sidecars,
                ended=pod.ended,
                crash=pod.crash if pod.ready else None,
                ready_since=pod.ready_since if pod.ready and pod.crash is not None else "",
                crashes=0 if pod.ready or pod.problem is None else pod.crashes,
            )
            pods[pod.revision] = (*pods.get(pod.revision, ()), facts)
        service, route = self.objects.get(("Service", NAME)), self.objects.get(("HTTPRoute", NAME))
        refs = resource.spec.traffic.gateway.parent_refs or ()
        facts = parse_gateway.route(route) if route else None
        return Snapshot(
            now=self.now,
            resource=resource,
            settings=self.settings,
            desired=self.desired(),
            desired_canary=self.desired_canary(),
            revisions={each.hash: each for each in map(parse.revision, self.of_kind("ControllerRevision"))},
            deployments={
                parse.revision_hash(each): parse.deployment(each)
                for each in map(self._with_status, self.of_kind("Deployment"))
            },
            autoscalers={
                parse.revision_hash(each): parse.autoscaler(each) for each in self.of_kind("HorizontalPodAutoscaler")
            },
            pods=pods,
            endpoints=dict(self.slices),
            service=parse.service(service) if service else None,
            route=facts,
            gateways=tuple(
                GatewayFacts(
                    NAMESPACE,
                    ref.name,
                    not self.missing_gateway and ref.name not in self.missing,
                    "10.0.0.1",
                    self.listeners,
                    "class",
                    self.features,
                )
                for ref in refs
            ),
            former_gateways=tuple(
                GatewayFacts(NAMESPACE, name, name not in self.missing, "10.0.0.1", self.listeners, "class")
                for name in dict.fromkeys(parent.ref.name for parent in facts.parents)
                if name not in {ref.name for ref in refs}
            )
            if facts is not None and refs
            else (),
            gateway_api=self.gateway_api,
            metrics_api=self.metrics_api,
            rival=self.rival,
            route_taken=self.route_taken,
            reading=self.reading,
        )

    def _with_status(self, deployment: dict[str, Any]) -> dict[str, Any]:
        revision = deployment["metadata"]["labels"][names.LABEL_REVISION]
        pods = [pod for pod in self.pods.values() if pod.revision == revision and not pod.deleting and not pod.ended]
        failure = self.replica_failure.get(revision)
        words = [{"type": "ReplicaFailure", "status": "True", "message": failure}] if failure else []
        return {**deployment, "status": {"replicas": len(pods), "conditions": words}}

    def role(self, revision: str) -> str | None:
        """Return the role that status gives a revision."""
        return next((each.role for each in self.status.revisions if each.revision == revision), None)

    def entry(self, revision: str) -> RevisionStatus:
        """Return the entry of a revision in status."""
        return next(each for each in self.status.revisions if each.revision == revision)

    def condition(self, kind: str) -> Condition:
        """Return the condition of this type in status."""
        return next(each for each in self.status.conditions if each.type == kind)

    def selected(self, service: str) -> frozenset[str]:
        """Return the names of the ready pods that a Service's selector selects now."""
        obj = self.objects.get(("Service", service))
        if obj is None:
            return frozenset()
        wanted = obj["spec"]["selector"].get(names.LABEL_REVISION)
        return frozenset(
            pod.name for pod in self.pods.values() if pod.ready and not pod.deleting and wanted in (None, pod.revision)
        )

    # What the cluster does.

    def make_pods(self) -> World:
        """Act as the Deployment controller: create or delete pods up to `replicas`.

        It deletes pods that are not ready first.
        """
        for obj in self.of_kind("Deployment"):
            revision = obj["metadata"]["labels"][names.LABEL_REVISION]
            mine = [
                pod for pod in self.pods.values() if pod.revision == revision and not pod.deleting and not pod.ended
            ]
            wanted = obj["spec"]["replicas"]
            if revision not in self.replica_failure:
                for _ in range(wanted - len(mine)):
                    self._serial += 1
                    name = f"p{self._serial}"
                    self.pods[name] = Pod(name, revision, since=self.now.isoformat())
            for pod in sorted(mine, key=lambda pod: pod.ready)[: max(0, len(mine) - wanted)]:
                self.pods[pod.name] = replace(pod, deleting=True)
        there = {obj["metadata"]["labels"][names.LABEL_REVISION] for obj in self.of_kind("Deployment")}
        for pod in list(self.pods.values()):
            if pod.revision not in there:
                self.pods[pod.name] = replace(pod, deleting=True)
        return self

    def start(self, revision: str | None = None, count: int = 1000) -> World:
        """Act as the kubelet: make pods without a problem ready, the oldest first."""
        for pod in [
            pod
            for pod in self.pods.values()
            if revision in (None, pod.revision)
            and not pod.ready
            and not pod.deleting
            and pod.problem is None
            and not pod.ended
        ][:count]:
            self.pods[pod.name] = replace(pod, ready=True, ready_since=self.now.isoformat())
        return self

    def fail(self, revision: str, problem: Problem | None, count: int = 1000) -> World:
        """Let the first `count` pods of a revision fail, or recover where `problem` is None."""
        for pod in [pod for pod in self.pods.values() if pod.revision == revision][:count]:
            since = self.now.isoformat() if pod.ready and problem is not None else pod.since
            self.pods[pod.name] = replace(
                pod,
                ready=pod.ready and problem is None,
                problem=problem,
                since=since,
                crash=pod.crash if problem is not None else pod.problem or pod.crash,
                crashes=pod.crashes + (problem is not None),
            )
        return self

    def end(self, name: str, problem: Problem) -> World:
        """End a pod for good, as a kubelet does that evicts or refuses it."""
        self.pods[name] = replace(self.pods[name], ready=False, ended=True, problem=problem, since=self.now.isoformat())
        return self

    def finish(self) -> World:
        """Remove the pods that are being deleted."""
        self.pods = {name: pod for name, pod in self.pods.items() if not pod.deleting}
        return self

    def list_endpoints(self, service: str | None = None) -> World:
        """Act as the EndpointSlice controller, for one Service or for all."""
        there = [name for kind, name in self.objects if kind == "Service"]
        for name in there if service is None else [service]:
            self.slices[name] = self.selected(name)
        self.slices = {name: ready for name, ready in self.slices.items() if name in there}
        return self

    def accept_route(self) -> World:
        """Act as the gateway: accept the route's generation, or reject it.

        It rejects the route with the message `refusal`, where that is set.
        """
        route = self.objects.get(("HTTPRoute", NAME))
        if route is None or self.missing_gateway:
            return self
        good = self.refusal is None
        entry = {
            "status": str(good),
            "reason": "Accepted" if good else "NotAllowed",
            "message": self.refusal or "",
            "observedGeneration": route["metadata"]["generation"],
        }
        conditions = [{"type": kind, **entry} for kind in ("Accepted", "ResolvedRefs")]
        before = (route.get("status") or {}).get("parents") or ()
        refs = route["spec"]["parentRefs"]
        stays = [entry for entry in before if entry["parentRef"]["name"] in self.missing and entry["parentRef"] in refs]
        there = [ref for ref in refs if ref["name"] not in self.missing]
        route["status"] = {"parents": [*stays, *({"parentRef": ref, "conditions": conditions} for ref in there)]}
        if good:
            self.programmed = self.split()
        return self

    def autoscale(self, wanted: int | None = None) -> World:
        """Act as the autoscaler: move each Deployment into its HPA's range.

        The result is the number in the range that is nearest to `wanted`. Without `wanted`, it is the one nearest to
        the current number of replicas.
        """
        for obj in self.of_kind("HorizontalPodAutoscaler"):
            deployment = self.objects["Deployment", obj["metadata"]["name"]]
            number = max(
                obj["spec"]["minReplicas"], min(obj["spec"]["maxReplicas"], wanted or deployment["spec"]["replicas"])
            )
            if deployment["spec"]["replicas"] not in (0, number):
                deployment["spec"]["replicas"] = number
                deployment["metadata"]["managedFields"] = []
        return self

    # What the operator does.

    def reconcile(self, write_status: bool = True) -> World:
        """Run one reconcile as the runtime does, and check every safety property."""
        snapshot = self.snapshot()
        assessment = assess(snapshot)
        plan = decide(assessment)
        assert plan == decide(assess(self.snapshot())), "the same snapshot gave two plans"
        self.plan, self.writes = plan, []
        self._note_traffic()
        plan_invariants.check(self, assessment, plan)
        served = self.selected(NAME)
        self.apply_plan(snapshot, plan)
        status = compose(assessment, plan, self.write_problem)
        if served:
            assert self.selected(NAME), "the Service lost its last ready pod by our own doing"
        if status != self.status:
            self.writes.append("status")
            if write_status:
                self.status = status
        return self

    def delete(self, kind: str, name: str) -> None:
        super().delete(kind, name)
        if kind == "HTTPRoute" and kind not in self.refused_kinds:
            self.programmed = Split()

    # Where the requests go.

    def has_traffic(self, revision: str) -> bool:
        """Tell whether requests really go to a revision now."""
        listed = self.slices.get(NAME, frozenset())
        mine = {pod.name for pod in self.pods.values() if pod.revision == revision and pod.ready and not pod.deleting}
        return revision in self.programmed.revisions or bool(listed & mine)

    def _note_traffic(self) -> None:
        for revision in {pod.revision for pod in self.pods.values()}:
            if self.has_traffic(revision):
                self.served_at[revision] = self.now

    # All actors together.

    def step(self) -> World:
        """Run every actor once, then the operator."""
        self.autoscale().make_pods().start().list_endpoints().finish().accept_route()
        return self.reconcile()

    def settle(self, limit: int = 40) -> World:
        """Run all actors until nothing is written, while time stands still."""
        for _ in range(limit):
            before = (copy.deepcopy(self.objects), dict(self.pods), dict(self.slices))
            self.step()
            if not self.writes and before == (self.objects, self.pods, self.slices):
                return self
        raise AssertionError(f"never comes to rest: {self.writes}")

    def rest(self) -> World:
        """Settle, and let every delay and deadline expire."""
        for _ in range(6):
            self.settle().later(700)
        return self.settle()
