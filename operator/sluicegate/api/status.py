"""`status` of a ModelDeployment: its observed state, and the reasons for it.

Status contains only what changes when something happens. Live measurements are metrics, so the operator never writes
the
status of a resource at rest.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta

from sluicegate.api.fields import ApiType, Line, doc
from sluicegate.api.names import RevisionHash


class ConditionType(StrEnum):
    """The types of conditions, in the order in which they are shown."""

    READY = "Ready"
    AVAILABLE = "Available"
    MODEL_RESOLVED = "ModelResolved"
    PROGRESSING = "Progressing"
    TRAFFIC_ROUTED = "TrafficRouted"
    STALE = "Stale"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Phase(StrEnum):
    """The progress of a rollout."""

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
        """Read an unknown phase as Idle.

        A newer operator may have written it. The rest of the status stays readable.
        """
        return cls.IDLE

    @property
    def moving(self) -> bool:
        """Tell whether a rollout is in progress."""
        return not self.ended and self is not Phase.IDLE

    @property
    def returned(self) -> bool:
        """Tell whether the rollout ended with all traffic back on stable.

        A rollout in such a phase starts from the first step when it is retried.
        """
        return self in (Phase.ROLLED_BACK, Phase.ABORTED)

    @property
    def ended(self) -> bool:
        """Tell whether the rollout ended without a promotion."""
        return self.returned or self is Phase.FAILED


class Role(StrEnum):
    """The role of a revision."""

    STABLE = "Stable"
    CANDIDATE = "Candidate"
    """It is being rolled out, and then becomes stable."""
    CANARY = "Canary"
    NEXT_CANARY = "NextCanary"
    """It becomes the canary once it is ready."""
    RETIRING = "Retiring"
    """It received traffic before, and the operator is moving that traffic away from it."""
    PARKED = "Parked"
    """It has no traffic. Its pods are removed after scaleDownDelay.

    The operator keeps the revision for an instant rollback.
    """
    FAILED = "Failed"
    """Its pods crashed for all of progressDeadline, so the operator removed them.

    The operator does not try it again until the request for it changes.
    """


HashLine = Annotated[RevisionHash, Meta(max_length=4096)]
"""The hash of a revision. See `Line`."""

Time = Annotated[str, Meta(max_length=64, extra_json_schema={"format": "date-time"})]


class Condition(ApiType, frozen=True):
    """One condition, as the Kubernetes API conventions define it."""

    type: Annotated[str, Meta(max_length=316), doc("Type of the condition, such as Ready.")]
    status: Annotated[Literal["True", "False", "Unknown"], doc("Status of the condition: True, False or Unknown.")]
    reason: Annotated[str, Meta(max_length=1024), doc("Reason for the status, in one CamelCase word.")]
    message: Annotated[str, Meta(max_length=32768), doc("Explanation of the reason, and how to fix it.")] = ""
    last_transition_time: Annotated[Time | None, doc("Time when status last changed.")] = None
    observed_generation: Annotated[
        int | None, doc("The metadata.generation that the condition was determined from.")
    ] = None


class ModelStatus(ApiType, frozen=True):
    """The model version that a URI of the spec resolved to."""

    uri: Annotated[Line, doc("The spec.model.uri that was resolved.")]
    registry: Annotated[
        Line | None, doc("Registry that resolved the URI: the name of a configured registry, or a URL.")
    ] = None
    source: Annotated[Line | None, doc("URI that the pods fetch the artifacts from.")] = None
    name: Annotated[Line | None, doc("Name of the registered model.")] = None
    version: Annotated[Line | None, doc("Model version.")] = None
    run_id: Annotated[Line | None, doc("ID of the MLflow run that logged the model.")] = None
    model_id: Annotated[Line | None, doc("ID of the MLflow logged model.")] = None
    digest: Annotated[Line | None, doc("Digest of the fetched artifacts, as the pods report it.")] = None
    resolved_at: Annotated[Time | None, doc("Time when the URI was resolved to this version.")] = None
    registered_at: Annotated[Time | None, doc("Time when the version was registered.")] = None


class NewerStatus(ApiType, frozen=True):
    """A version of the registered model that is higher than the stable one."""

    version: Annotated[Line, doc("Highest version of the registered model.")]
    since: Annotated[
        Time, doc("Time when the first version higher than the stable one was registered or first observed.")
    ]


class RevisionStatus(ApiType, frozen=True):
    """The state of one revision."""

    name: Annotated[Line, doc("Name of the revision's child objects, NAME-HASH.")]
    revision: Annotated[HashLine, doc("Hash of the revision.")]
    role: Annotated[
        Line, doc("Role of the revision: Stable, Candidate, Canary, NextCanary, Retiring, Parked or Failed.")
    ]
    weight: Annotated[int, Meta(ge=0, le=100), doc("Desired percent of the traffic for the revision.")]
    replicas: Annotated[int, doc("Desired number of pods. 0 for a Parked or Failed revision.")]
    ready_replicas: Annotated[int, doc("Number of ready pods. 0 for a Parked or Failed revision.")]
    accepted_weight: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None,
        doc("Percent of the traffic for the revision that the gateway has accepted."),
    ] = None
    number: Annotated[int | None, doc("Sequence number of the revision, starting from 1.")] = None
    model: Annotated[Line | None, doc("Model that the revision serves: NAME/VERSION, or the URI.")] = None
    version: Annotated[Line | None, doc("Model version that the revision serves.")] = None
    registered_at: Annotated[Time | None, doc("Time when the model version was registered.")] = None
    released_at: Annotated[
        Time | None,
        doc(
            "Time when the last traffic left a Parked revision. Its pods keep running for scaleDownDelay from then on."
        ),
    ] = None
    reason: Annotated[Line | None, doc("Reason why the revision is not ready, in one CamelCase word.")] = None
    message: Annotated[Line | None, doc("Explanation of the reason.")] = None


class AnalysisStatus(ApiType, frozen=True):
    """Latest outcome of the analysis and its measurement, updated only when the outcome changes."""

    outcome: Annotated[Line, doc("Outcome of the analysis: Passed, Failed or Inconclusive.")]
    metric: Annotated[Line | None, doc("Name of the metric that determined the outcome.")] = None
    value: Annotated[float | None, doc("Value of the metric for the candidate.")] = None
    stable_value: Annotated[float | None, doc("Value of the metric for the stable revision over the same window.")] = (
        None
    )
    limit: Annotated[float | None, doc("Largest value that would have passed.")] = None
    samples: Annotated[int | None, doc("Number of requests to the candidate that the value is based on.")] = None
    message: Annotated[Line | None, doc("Explanation of the measurement, with its numbers.")] = None
    at: Annotated[Time | None, doc("Time of the outcome.")] = None


class RolloutStatus(ApiType, frozen=True):
    """The progress of the rollout from the stable revision to the desired revision."""

    phase: Annotated[
        Phase,
        doc(
            "Phase of the rollout. Waiting: pods start. Scaling: pods are added for the step's weight. "
            "Shifting: the gateway applies the step's weight. Holding: the hold or the analysis of the step is "
            "in progress. Paused: the rollout waits for an approver, or spec.paused is true. Promoting: the "
            "candidate becomes stable. Idle: no rollout is in progress. RolledBack: the operator returned all "
            "traffic to stable. Aborted: a user returned all traffic to stable. Failed: the revision did not "
            "become ready within progressDeadline."
        ),
    ]
    candidate: Annotated[HashLine | None, doc("Hash of the candidate, the revision that is rolled out.")] = None
    started_at: Annotated[Time | None, doc("Time when the desired revision was first observed.")] = None
    step_index: Annotated[
        int | None, doc("Index of the current step, starting from 0. After the last step, the number of steps.")
    ] = None
    step_hash: Annotated[Line | None, doc("Hash of the steps that stepIndex refers to.")] = None
    step_started_at: Annotated[Time | None, doc("Time when the step started.")] = None
    weight: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None, doc("Percent of the requests that the step gives the candidate.")
    ] = None
    accepted_at: Annotated[
        Time | None,
        doc(
            "Time since which the gateway has applied the step's weight, match and mirror. The hold starts at this "
            "time."
        ),
    ] = None
    until: Annotated[Time | None, doc("Time when the hold or pause of the step ends, if it is known.")] = None
    reason: Annotated[Line | None, doc("Reason why the rollout waits or was rolled back, in one CamelCase word.")] = (
        None
    )
    message: Annotated[Line | None, doc("Explanation of the reason.")] = None
    analysis: Annotated[AnalysisStatus | None, doc("Latest outcome of the analysis at this step.")] = None
    retried: Annotated[
        bool | None,
        doc(
            "True if the annotation sluicegate.dev/retry already named the revision when it was rolled back. "
            "That annotation has no effect until it is removed and set again."
        ),
    ] = None
    target: Annotated[
        HashLine | None,
        doc(
            "Deprecated: the earlier name of candidate. The operator reads it in a status that an older operator wrote."
        ),
    ] = None


class ModelDeploymentStatus(ApiType, frozen=True):
    """The observed state of a ModelDeployment."""

    observed_generation: Annotated[int | None, doc("The metadata.generation that this status describes.")] = None
    conditions: Annotated[
        tuple[Condition, ...],
        Meta(
            max_length=16, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        ),
        doc("Conditions of the resource. Wait for Ready or Available."),
    ] = ()
    operator: Annotated[
        Line | None, doc("Operator that acts on the resource: the namespace and name of its Lease.")
    ] = None
    problem_since: Annotated[
        Time | None,
        doc(
            "Time since which problems that may pass without an action of the user keep the resource from being as "
            "declared. It is Stalled once they have lasted for spec.rollout.progressDeadline."
        ),
    ] = None
    url: Annotated[Line | None, doc("URL of the model for clients outside the cluster.")] = None
    address: Annotated[Line | None, doc("URL of the model for clients inside the cluster.")] = None
    replicas: Annotated[int, doc("Number of pods of the stable revision.")] = 0
    selector: Annotated[Line | None, doc("Label selector of the pods, for the scale subresource.")] = None
    canary: Annotated[
        Line | None,
        doc("Weight of the canary, or of the candidate of a rollout, that the gateway has accepted, such as 10%."),
    ] = None
    model: Annotated[ModelStatus | None, doc("Model version that spec.model resolved to.")] = None
    canary_model: Annotated[ModelStatus | None, doc("Model version that spec.canary.model resolved to.")] = None
    newer: Annotated[
        NewerStatus | None,
        doc(
            "Highest version of the registered model, while stable serves a lower one. Only with "
            "spec.model.staleAgainst: Model."
        ),
    ] = None
    revisions: Annotated[
        tuple[RevisionStatus, ...],
        Meta(
            max_length=64,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["revision"]},
        ),
        doc("Revisions, newest first."),
    ] = ()
    rollout: Annotated[RolloutStatus | None, doc("Progress of the current rollout.")] = None
    previous: Annotated[
        HashLine | None,
        doc(
            "Hash of the revision that was stable before. While it has pods, a crash of the stable revision returns "
            "the traffic to it."
        ),
    ] = None

    @property
    def stable(self) -> RevisionStatus | None:
        """Return the entry of the stable revision, or None without one."""
        return next((entry for entry in self.revisions if entry.role == Role.STABLE), None)
