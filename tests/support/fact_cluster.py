"""A cluster of facts alone around one ModelDeployment.

Decisions are applied as facts, and nothing is rendered. It does what `World` does without API objects, so it simulates
a hundred times as many lives in the same time. The tests with `World` still show that facts and objects agree.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import msgspec
from sluicegate.api import duration
from sluicegate.api.resource import ModelDeployment, decode
from sluicegate.api.rollout import Step
from sluicegate.api.status import ModelDeploymentStatus, Phase, Role, RolloutStatus
from sluicegate.core.decide.decision import decide
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.plan.share import after
from sluicegate.core.plan.types import Autoscaled, Fixed, Plan
from sluicegate.core.snapshot.analysis_result import Outcome, Reading
from sluicegate.core.snapshot.assessment import assess
from sluicegate.core.snapshot.facts import (
    DeploymentFacts,
    DesiredRevision,
    GatewayFacts,
    Listener,
    PodFacts,
    Problem,
    Revision,
    RouteFacts,
    ServiceFacts,
    Snapshot,
    Split,
)
from sluicegate.core.snapshot.revision_spec import Intent, intent_of
from sluicegate.core.status.compose import compose

from tests.support.fake_cluster import NAME, NAMESPACE, SETTINGS, START

CRASH = Problem("OOMKilled", "Container model was killed for using more memory than its limit.")
NOT_YET = Problem("NotReady", "Its readiness probe fails.", waits_for_user=False)
FULL = Problem("Unschedulable", "No node has room.", waits_for_user=False, lacks_room=True)


@cache
def _spec(text: str) -> Any:
    return decode({"metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": msgspec.json.decode(text)}).spec


@cache
def _intent(text: str) -> tuple[ResolvedModel, Intent]:
    spec = _spec(text)
    version = spec.model.uri.rpartition("/")[2]
    resolved = ResolvedModel(spec.model.uri, f"mlflow-artifacts:/churn/{version}", "churn", version)
    decoded = decode({"metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": msgspec.json.decode(text)})
    return resolved, intent_of(decoded, resolved, "default")


@dataclass
class Lean:
    """The cluster, its clock and its user."""

    gateway: bool = True
    spec: dict[str, Any] = field(default_factory=lambda: {"model": {"uri": "models:/churn/1"}})
    annotations: dict[str, str] = field(default_factory=dict)
    status: ModelDeploymentStatus = field(default_factory=ModelDeploymentStatus)
    real: float = 0.0
    """Seconds that have really passed."""
    clock: float = 0.0
    """Seconds by which the operators' clock is ahead. The clock of an operator that takes over may be behind."""
    revisions: dict[str, Revision] = field(default_factory=dict)
    replicas_of: dict[str, int] = field(default_factory=dict)
    pods: dict[str, list[PodFacts]] = field(default_factory=dict)
    endpoints: dict[str, frozenset[str]] = field(default_factory=dict)
    service: ServiceFacts | None = None
    route: RouteFacts | None = None
    programmed: Split = field(default_factory=Split)
    reading: Reading | None = None
    served_at: dict[str, datetime] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    wrote: bool = False
    serial: int = 0
    forced_since: tuple[str, int, str, float] | None = None
    """The share that is really in force: (revision, step, hash of the steps, since when)."""
    awake: dict[str, Any] = field(default_factory=lambda: {"replicas": 1})
    """The scaling of the spec, except while the user has scaled the resource to zero."""
    asleep: bool = False
    """Whether no pod is left after `replicas: 0`, and stable has not come back yet."""
    awake_since: float = 0.0
    rolled_back_revisions: set[str] = field(default_factory=set)
    """Revisions that were rolled back and that the user has not requested again."""

    def __post_init__(self) -> None:
        if self.gateway:
            self.spec["traffic"] = {"gateway": {"parentRefs": [{"name": "gate"}]}}

    # What the user does.

    def edit(self, **fields: Any) -> None:
        """Change fields of the spec. None removes a field.

        A change of the model permits a failed revision to be tried again.
        """
        before = dict(self.spec)
        self.spec.update({key: value for key, value in fields.items() if value is not None})
        for key in [key for key, value in fields.items() if value is None]:
            self.spec.pop(key, None)
        if before.get("model") != self.spec.get("model"):
            self.rolled_back_revisions.clear()

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.real)

    @property
    def text(self) -> str:
        return msgspec.json.encode(self.spec, order="sorted").decode()

    @property
    def desired(self) -> str:
        return _intent(self.text)[1].hash

    @property
    def resource(self) -> ModelDeployment:
        metadata = {"name": NAME, "namespace": NAMESPACE, "generation": 1, "annotations": dict(self.annotations)}
        made = decode({"metadata": metadata, "spec": {"model": {"uri": "models:/churn/1"}}})
        return ModelDeployment(made.metadata, _spec(self.text), self.status)

    @property
    def steps(self) -> tuple[Step, ...]:
        return _spec(self.text).rollout.steps or ()

    @property
    def state(self) -> RolloutStatus | None:
        return self.status.rollout

    # What the operator observes.

    def snapshot(self) -> Snapshot:
        resolved, intent = _intent(self.text)
        gates = (
            GatewayFacts(NAMESPACE, "gate", True, "10.0.0.1", (Listener("http", "HTTP", 80),), "class", frozenset()),
        )
        return Snapshot(
            now=self.now + timedelta(seconds=self.clock),
            resource=self.resource,
            settings=SETTINGS,
            desired=DesiredRevision(resolved, intent),
            revisions=dict(self.revisions),
            deployments={
                each: DeploymentFacts(number, len(self.live(each)), len(self.ready(each)), True)
                for each, number in self.replicas_of.items()
            },
            pods={each: tuple(pods) for each, pods in self.pods.items() if pods},
            endpoints=dict(self.endpoints),
            service=self.service,
            route=self.route,
            gateways=gates if self.gateway else (),
            reading=self.reading,
        )

    def live(self, revision: str) -> list[PodFacts]:
        return [pod for pod in self.pods.get(revision, ()) if not pod.deleting]

    def ready(self, revision: str) -> frozenset[str]:
        return frozenset(pod.name for pod in self.live(revision) if pod.ready)

    def replicas(self, revision: str) -> int:
        return self.replicas_of[revision]

    def has_traffic(self, revision: str) -> bool:
        """Tell whether requests really go to a revision now."""
        listed = self.endpoints.get(NAME, frozenset())
        return revision in self.programmed.revisions or bool(listed & self.ready(revision))

    # What the controllers, the kubelet and the gateway do.

    def make_pods(self) -> None:
        for revision, wanted in self.replicas_of.items():
            mine = self.live(revision)
            for _ in range(wanted - len(mine)):
                self.serial += 1
                self.pods.setdefault(revision, []).append(
                    PodFacts(f"p{self.serial}", revision, False, False, waiting_since=self.now.isoformat())
                )
            going = {pod.name for pod in sorted(mine, key=lambda pod: pod.ready)[: max(0, len(mine) - wanted)]}
            self._each(lambda pod, going=going: replace(pod, deleting=True) if pod.name in going else pod)
        for revision in list(self.pods):
            if revision not in self.replicas_of:
                self._each(lambda pod, r=revision: replace(pod, deleting=True) if pod.revision == r else pod)

    def start(self, chance: random.Random | None = None) -> None:
        def begin(pod: PodFacts) -> PodFacts:
            waits = (
                pod.ready or pod.deleting or pod.problem is not None or (chance is not None and chance.random() < 0.5)
            )
            since = self.now.isoformat() if pod.crash is not None else ""
            return pod if waits else replace(pod, ready=True, waiting_since="", ready_since=since)

        self._each(begin)

    def trouble(self, revision: str, problem: Problem | None) -> None:
        since = self.now.isoformat()
        self._each(
            lambda pod: (
                pod
                if pod.revision != revision
                else replace(
                    pod,
                    ready=pod.ready and problem is None,
                    problem=problem,
                    crash=pod.problem or pod.crash if problem is None else None,
                    waiting_since="" if problem is None else since,
                )
            )
        )

    def forget_crashes(self) -> None:
        """Let the pods be as new ones, which have never crashed."""
        self._each(lambda pod: replace(pod, crash=None, ready_since=""))

    def finish(self) -> None:
        self.pods = {each: [pod for pod in pods if not pod.deleting] for each, pods in self.pods.items()}

    def list_endpoints(self) -> None:
        self.endpoints = {f"{NAME}-{each}": self.ready(each) for each in self.replicas_of}
        if self.service is not None:
            chosen = self.pods if self.service.revision is None else [self.service.revision]
            self.endpoints[NAME] = frozenset(name for each in chosen for name in self.ready(each))

    def accept(self) -> None:
        if self.route is not None:
            self.route = replace(self.route, accepted=True)
            self.programmed = self.route.split

    def _each(self, change: Any) -> None:
        self.pods = {revision: [change(pod) for pod in pods] for revision, pods in self.pods.items()}

    # What the operator does.

    def reconcile(self, lost: bool = False) -> None:
        """Run one reconcile.

        With `lost`, the process dies before it has written the status.
        """
        snapshot = self.snapshot()
        assessment = assess(snapshot)
        self.plan = plan = decide(assessment)
        before = self.status
        for revision in self.pods:
            if self.has_traffic(revision):
                self.served_at[revision] = self.now
        known = self.forced_since
        self._note()
        self._note_sleep()
        from tests.support import rollout_invariants

        rollout_invariants.check(self, assessment, plan)
        self._apply(snapshot, plan)
        after_ = compose(assessment, plan)
        rollout_invariants.check_move(self, before, after_)
        self.wrote = after_ != before
        if lost:
            self.forced_since = known  # The process died, so what this reconcile observed is lost.
        else:
            self.status = after_
            if self.rolled_back() and self.state is not None and self.state.candidate is not None:
                self.rolled_back_revisions.add(self.state.candidate)

    def _note(self) -> None:
        """Record since when the gateway has really applied the step's share."""
        state = self.state
        if state is None or state.step_index is None or state.candidate is None or state.step_index >= len(self.steps):
            self.forced_since = None
            return
        wanted = after(self.steps[: state.step_index + 1]).weight
        routed = not self.gateway or self.programmed.weight(state.candidate) == wanted
        there = bool(self.ready(state.candidate)) and routed
        place = (state.candidate, state.step_index, state.step_hash or "")
        if state.accepted_at is None:
            self.reading = None  # No share is accepted, so the analyst has nothing to measure.
        if not there:
            self.forced_since = None
        elif self.forced_since is None or self.forced_since[:3] != place:
            self.forced_since = (*place, self.real)

    def _note_sleep(self) -> None:
        """Record whether stable has yet to come back after `replicas: 0`."""
        if self.spec["scaling"] == {"replicas": 0}:
            if not any(self.live(revision) for revision in self.pods):
                self.asleep, self.awake_since = True, self.real
        elif self.stable is None or self.ready(self.stable) or any(pod.problem for pod in self.live(self.stable)):
            self.asleep = False

    def _apply(self, snapshot: Snapshot, plan: Plan) -> None:
        number = 1 + max((each.number for each in self.revisions.values()), default=0)
        for entry in plan.revisions:
            if entry.hash not in self.revisions and entry.new:
                self.revisions[entry.hash] = Revision(entry.hash, number, "churn", "1", "x")
            match entry.scale:
                case Fixed(replicas):
                    self.replicas_of[entry.hash] = replicas
                case Autoscaled():
                    self.replicas_of[entry.hash] = max(entry.scale.min, self.replicas_of.get(entry.hash, 0))
            if entry.parked:
                self.endpoints.pop(f"{NAME}-{entry.hash}", None)
        for revision in plan.forgotten:
            self.revisions.pop(revision, None)
            self.replicas_of.pop(revision, None)
        if plan.has_service:
            self.service = ServiceFacts(plan.service_revision)
        if plan.route is not None and (snapshot.route is None or plan.route.split != snapshot.route.split):
            self.route = RouteFacts(plan.route.split, accepted=False)

    def turn(self) -> None:
        """Run every actor once, then the operator."""
        self.make_pods()
        self.start()
        self.list_endpoints()
        self.finish()
        self.accept()
        self.reconcile()

    def settle(self) -> None:
        """Run every actor until nothing changes, while time stands still."""
        for _ in range(60):
            before = (self.status, dict(self.replicas_of), self.pods, dict(self.endpoints), self.service, self.route)
            self.turn()
            if before == (self.status, self.replicas_of, self.pods, self.endpoints, self.service, self.route):
                return
        raise AssertionError("never comes to rest")

    def judge(self, outcome: Outcome) -> None:
        """Record an outcome of the analysis of the current share."""
        state = self.state
        if state is not None and state.candidate is not None and state.accepted_at is not None:
            self.reading = Reading(state.candidate, state.accepted_at, outcome)

    def hold_of(self, index: int) -> float:
        step = self.steps[index]
        paused = step.pause.duration if step.pause is not None and step.pause.duration else "0s"
        return duration.seconds(step.hold or "0s") + duration.seconds(paused)

    def role(self, revision: str) -> str | None:
        return next((each.role for each in self.status.revisions if each.revision == revision), None)

    @property
    def stable(self) -> str | None:
        return next((revision.revision for revision in self.status.revisions if revision.role == Role.STABLE), None)

    def rolled_back(self) -> bool:
        return self.state is not None and self.state.phase is Phase.ROLLED_BACK
