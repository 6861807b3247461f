"""`status` of a ModelDeployment: what is true, and why.

Only things that change when something happens are here; live measurements are read from metrics, so that a resource at
rest is never written.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta

from sluicegate.api.fields import ApiType, Line, doc


class ConditionType(StrEnum):
    """The conditions, in the order they are shown."""

    READY = "Ready"
    AVAILABLE = "Available"
    MODEL_RESOLVED = "ModelResolved"
    PROGRESSING = "Progressing"
    TRAFFIC_ROUTED = "TrafficRouted"
    STALE = "Stale"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Phase(StrEnum):
    """How far a rollout is."""

    IDLE = "Idle"
    """No rollout is in progress."""
    WAITING = "Waiting"
    """The pods of the desired revision are starting, or something keeps it from starting."""
    SCALING = "Scaling"
    """Pods are added to carry the weight of the step."""
    SHIFTING = "Shifting"
    """The gateway is taking over the weight of the step."""
    HOLDING = "Holding"
    """The step is in force, and its hold or its analysis is not over."""
    PAUSED = "Paused"
    """The rollout waits for an approver, or spec.paused is true."""
    PROMOTING = "Promoting"
    """All steps are done, and the desired revision is becoming stable."""
    ROLLED_BACK = "RolledBack"
    """The analysis or a failure returned all traffic to stable."""
    ABORTED = "Aborted"
    """A user returned all traffic to stable."""
    FAILED = "Failed"
    """The desired revision did not become ready within progressDeadline."""

    @classmethod
    def _missing_(cls, value: object) -> Phase:
        """Read a phase of a newer operator as Idle: the rest of the status stays readable."""
        return cls.IDLE

    @property
    def moving(self) -> bool:
        """Whether a rollout is in progress."""
        return not self.ended and self is not Phase.IDLE

    @property
    def returned(self) -> bool:
        """Whether the rollout ended with all traffic on stable again: one that is retried begins anew."""
        return self in (Phase.ROLLED_BACK, Phase.ABORTED)

    @property
    def ended(self) -> bool:
        """Whether the rollout ended without a promotion."""
        return self.returned or self is Phase.FAILED


class Role(StrEnum):
    """What a revision is there for."""

    STABLE = "Stable"
    TARGET = "Target"
    CANARY = "Canary"
    NEXT_CANARY = "NextCanary"
    """Takes the canary's place once it is ready."""
    RETIRING = "Retiring"
    """Served before, and the traffic is leaving it."""
    PARKED = "Parked"
    """Has no traffic: its pods go once scaleDownDelay is over, and it is kept for an instant rollback."""
    FAILED = "Failed"
    """Its pods crashed for as long as progressDeadline allows, so they are gone; not tried again until what asks for it changes."""


Time = Annotated[str, Meta(max_length=64, extra_json_schema={"format": "date-time"})]


class Condition(ApiType, frozen=True):
    """One condition, as the Kubernetes API conventions define them."""

    type: Annotated[str, Meta(max_length=316), doc("Name of the condition.")]
    status: Annotated[Literal["True", "False", "Unknown"], doc("True, False or Unknown.")]
    reason: Annotated[str, Meta(max_length=1024), doc("The cause, in one CamelCase word.")]
    message: Annotated[str, Meta(max_length=32768), doc("The cause in a sentence, with what to do.")] = ""
    last_transition_time: Annotated[Time | None, doc("When status last changed.")] = None
    observed_generation: Annotated[int | None, doc("metadata.generation that this was concluded from.")] = None


class ModelStatus(ApiType, frozen=True):
    """The model version that a URI of the spec resolved to."""

    uri: Annotated[Line, doc("spec.model.uri that was resolved.")]
    registry: Annotated[Line | None, doc("The registry asked: a configured name, or a URL.")] = None
    source: Annotated[Line | None, doc("Where the artifacts are fetched from.")] = None
    name: Annotated[Line | None, doc("Registered model name.")] = None
    version: Annotated[Line | None, doc("Model version.")] = None
    run_id: Annotated[Line | None, doc("MLflow run that made it.")] = None
    model_id: Annotated[Line | None, doc("MLflow logged-model id.")] = None
    digest: Annotated[Line | None, doc("Digest of the fetched artifacts, as the stable pods reported it.")] = None
    resolved_at: Annotated[Time | None, doc("When the registry said so.")] = None
    registered_at: Annotated[Time | None, doc("When the version was registered.")] = None


class NewerStatus(ApiType, frozen=True):
    """A version of the registered model that is higher than the one that serves."""

    version: Annotated[Line, doc("The highest version there is.")]
    since: Annotated[Time, doc("When the first one higher than the served one was seen, or was registered.")]


class RevisionStatus(ApiType, frozen=True):
    """One revision and what it is doing."""

    name: Annotated[Line, doc("Name of the revision's children, NAME-HASH.")]
    revision: Annotated[Line, doc("The revision's hash.")]
    role: Annotated[Line, doc("Stable, Target, Canary, NextCanary, Retiring, Parked or Failed.")]
    weight: Annotated[int, Meta(ge=0, le=100), doc("Percent of the traffic it should have.")]
    replicas: Annotated[int, doc("Pods it should have now; 0 for a Parked or Failed revision.")]
    ready_replicas: Annotated[int, doc("Pods that are ready; 0 for a Parked or Failed revision.")]
    accepted_weight: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None, doc("Percent of the traffic that the gateway has accepted for it.")
    ] = None
    number: Annotated[int | None, doc("Counts up from 1 with each new revision.")] = None
    model: Annotated[Line | None, doc("What it serves, NAME/VERSION or the URI.")] = None
    version: Annotated[Line | None, doc("Model version.")] = None
    registered_at: Annotated[Time | None, doc("When the version was registered.")] = None
    released_at: Annotated[
        Time | None,
        doc("When the last traffic left it, of a Parked revision; its pods stay for scaleDownDelay from here."),
    ] = None
    reason: Annotated[Line | None, doc("Why it is not ready, in one word.")] = None
    message: Annotated[Line | None, doc("Why it is not ready, in a sentence.")] = None


class RolloutVerdict(ApiType, frozen=True):
    """What the analysis last came to, and the measurement behind it. It changes with the outcome, not with each measurement."""

    outcome: Annotated[Line, doc("Passed, Failed or Inconclusive.")]
    metric: Annotated[Line | None, doc("Name of the metric that decided.")] = None
    value: Annotated[float | None, doc("What it was for the new version.")] = None
    stable_value: Annotated[float | None, doc("What it was for the stable revision over the same window.")] = None
    limit: Annotated[float | None, doc("Largest value that would have passed.")] = None
    samples: Annotated[int | None, doc("Requests of the new version that it is from.")] = None
    message: Annotated[Line | None, doc("The figures in a sentence.")] = None
    at: Annotated[Time | None, doc("When it came to that.")] = None


class RolloutStatus(ApiType, frozen=True):
    """How far the change from the stable revision to the target is."""

    phase: Annotated[
        Phase,
        doc(
            "Waiting (pods start), Scaling (pods for the step's weight), Shifting (the gateway takes over the weight), Holding, "
            "Paused, Promoting; Idle without a rollout; RolledBack, Aborted (by a user) or Failed at its end."
        ),
    ]
    target: Annotated[Line | None, doc("Hash of the revision that is to take over.")] = None
    started_at: Annotated[Time | None, doc("When the target was first seen.")] = None
    step_index: Annotated[
        int | None, doc("Index of the current step, from 0; the number of steps once all are behind.")
    ] = None
    step_hash: Annotated[Line | None, doc("Hash of the steps this index belongs to.")] = None
    step_started_at: Annotated[Time | None, doc("When the step began.")] = None
    weight: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None, doc("Percent of the requests that the step gives the target.")
    ] = None
    accepted_at: Annotated[
        Time | None, doc("Since when the gateway has the step's weight, match and mirror; its hold counts from here.")
    ] = None
    until: Annotated[Time | None, doc("When the step's hold or pause is over, if that is known.")] = None
    reason: Annotated[Line | None, doc("Why it waits, or why it was rolled back, in one word.")] = None
    message: Annotated[Line | None, doc("The same in a sentence.")] = None
    verdict: Annotated[RolloutVerdict | None, doc("What the analysis last came to at this step.")] = None
    retried: Annotated[
        bool | None,
        doc(
            "Whether the annotation sluicegate.dev/retry was there already when it was rolled back: that one is spent."
        ),
    ] = None


class ModelDeploymentStatus(ApiType, frozen=True):
    """What is true of a ModelDeployment."""

    observed_generation: Annotated[int | None, doc("metadata.generation that this status describes.")] = None
    conditions: Annotated[
        tuple[Condition, ...],
        Meta(
            max_length=16, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        ),
        doc("What is true and why; Ready and Available are the two to wait for."),
    ] = ()
    url: Annotated[Line | None, doc("Where clients reach the model from outside the cluster.")] = None
    address: Annotated[Line | None, doc("Where clients reach the model from inside the cluster.")] = None
    replicas: Annotated[int, doc("Pods of the stable revision.")] = 0
    selector: Annotated[Line | None, doc("Label selector of the pods, for the scale subresource.")] = None
    canary: Annotated[Line | None, doc("Weight of the canary as accepted, such as 10%.")] = None
    model: Annotated[ModelStatus | None, doc("The version that spec.model resolved to.")] = None
    canary_model: Annotated[ModelStatus | None, doc("The version that the canary's model resolved to.")] = None
    newer: Annotated[
        NewerStatus | None,
        doc(
            "The registered model's newest version, while a lower one serves; only with spec.model.staleAgainst: Model."
        ),
    ] = None
    revisions: Annotated[
        tuple[RevisionStatus, ...],
        Meta(
            max_length=64,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["revision"]},
        ),
        doc("The revisions, newest first."),
    ] = ()
    rollout: Annotated[RolloutStatus | None, doc("How far the current change is.")] = None

    @property
    def stable(self) -> RevisionStatus | None:
        """The entry of the stable revision."""
        return next((entry for entry in self.revisions if entry.role == Role.STABLE), None)
