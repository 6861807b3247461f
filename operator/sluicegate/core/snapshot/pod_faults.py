"""Whose fault it is that a pod ended or waits: every way, in one table.

Only faults of the model version count against it: its own container's exit, its load error, its memory, its image's
name. Everything else that happens to pods comes from the platform, and never rolls a version back. `pod_diagnosis`
finds the cause in the status of a pod. The table in docs/guide/status.md is generated from `CAUSES`.

Sources: the kubelet's container states and pod reasons (pkg/kubelet), the condition DisruptionTarget, the scheduler's
condition PodScheduled, and the condition ReplicaFailure of a Deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto
from typing import Final, NamedTuple

from sluicegate.api.reasons import Reason
from sluicegate.core.snapshot.facts import Problem


class Fault(StrEnum):
    """Who causes that a pod does not serve."""

    VERSION = "version"
    """The model version. It is rolled back or given up for this."""
    PLATFORM = "platform"
    """The cluster, the namespace, or what else runs in the pod."""
    NONE = "none"
    """It belongs to the life of a pod."""


class Cause(StrEnum):
    """A way in which a pod or a container ends or waits."""

    MODEL_EXITED = auto()
    MODEL_DOES_NOT_LOAD = auto()
    MODEL_LACKS_PACKAGE = auto()
    MODEL_OUT_OF_MEMORY = auto()
    IMAGE_NAME_INVALID = auto()
    IMAGE_MISSING = auto()
    IMAGE_NOT_PULLED = auto()
    OBJECT_MISSING = auto()
    KEY_MISSING = auto()
    CONTAINER_NOT_CONFIGURED = auto()
    CONTAINER_NOT_STARTED = auto()
    FETCH_FAILED = auto()
    INSTALL_FAILED = auto()
    SIDECAR_FAILED = auto()
    CONTAINER_LOST = auto()
    EVICTED = auto()
    DISRUPTED = auto()
    NODE_GONE = auto()
    REFUSED_BY_NODE = auto()
    POD_ENDED = auto()
    GATED = auto()
    NO_NODE = auto()
    CLAIM_MISSING = auto()
    OVER_QUOTA = auto()
    REFUSED_BY_API = auto()
    STOPPED = auto()
    DELETED = auto()
    STARTING = auto()


class Meaning(NamedTuple):
    """What a cause means."""

    shown: str
    """How the cause shows in the API, for the guide."""
    fault: Fault
    passes: bool
    """Whether it may pass without an action of the user."""
    reasons: tuple[Reason, ...]
    """The reasons that the operator reports for it. Empty if it is no problem."""
    remedy: str


CAUSES: Final[Mapping[Cause, Meaning]] = {
    Cause.MODEL_EXITED: Meaning(
        "the container `model` ends with any other exit code, or ends again and again (`CrashLoopBackOff`)",
        Fault.VERSION,
        False,
        (Reason.CRASH_LOOP_BACK_OFF, Reason.CONTAINER_FAILED),
        "read the exit code and the last log line in the message",
    ),
    Cause.MODEL_DOES_NOT_LOAD: Meaning(
        "the container `model` reports that the model does not load",
        Fault.VERSION,
        False,
        (Reason.MODEL_LOAD_FAILED,),
        "read the exception in the message",
    ),
    Cause.MODEL_LACKS_PACKAGE: Meaning(
        "the container `model` reports that the image lacks packages",
        Fault.VERSION,
        False,
        (Reason.MODEL_DEPENDENCY_MISSING,),
        "use another image, or `spec.runtime.dependencies: Install`",
    ),
    Cause.MODEL_OUT_OF_MEMORY: Meaning(
        "the container `model` ends with `OOMKilled`",
        Fault.VERSION,
        False,
        (Reason.OOM_KILLED,),
        "raise `spec.resources.limits.memory`",
    ),
    Cause.IMAGE_NAME_INVALID: Meaning(
        "a container waits with `InvalidImageName`",
        Fault.VERSION,
        False,
        (Reason.INVALID_IMAGE_NAME,),
        "correct the image's name",
    ),
    Cause.IMAGE_MISSING: Meaning(
        "a container waits for an image that the image registry does not have (code `NotFound`), or with "
        "`ErrImageNeverPull`",
        Fault.PLATFORM,
        False,
        (Reason.IMAGE_PULL_FAILED,),
        "push the image, or correct its name",
    ),
    Cause.IMAGE_NOT_PULLED: Meaning(
        "a container waits with `ErrImagePull`, `ImagePullBackOff`, `RegistryUnavailable`, `ImageInspectError`, "
        "`SignatureValidationFailed`",
        Fault.PLATFORM,
        True,
        (Reason.IMAGE_PULL_FAILED,),
        "check the image registry and `imagePullSecrets`",
    ),
    Cause.OBJECT_MISSING: Meaning(
        "a container waits for a Secret or a ConfigMap",
        Fault.PLATFORM,
        False,
        (Reason.SECRET_NOT_FOUND, Reason.CONFIG_MAP_NOT_FOUND),
        "create the named object",
    ),
    Cause.KEY_MISSING: Meaning(
        "a container waits for a key of a Secret or a ConfigMap",
        Fault.PLATFORM,
        False,
        (Reason.SECRET_KEY_NOT_FOUND, Reason.CONFIG_MAP_KEY_NOT_FOUND),
        "add the named key",
    ),
    Cause.CONTAINER_NOT_CONFIGURED: Meaning(
        "a container waits with `CreateContainerConfigError`",
        Fault.PLATFORM,
        False,
        (Reason.CONTAINER_CONFIG_ERROR,),
        "correct the field that the message names",
    ),
    Cause.CONTAINER_NOT_STARTED: Meaning(
        "a container waits with `CreateContainerError`, `RunContainerError` or a failed hook, or ends with "
        "`StartError` or `ContainerCannotRun`",
        Fault.PLATFORM,
        True,
        (Reason.CONTAINER_CONFIG_ERROR,),
        "read the container runtime's text in the message",
    ),
    Cause.FETCH_FAILED: Meaning(
        "the init container `fetch` fails, also with `OOMKilled`",
        Fault.PLATFORM,
        True,
        (Reason.MODEL_FETCH_FAILED,),
        "check the registry and the artifact store",
    ),
    Cause.INSTALL_FAILED: Meaning(
        "the init container `install` fails, also with `OOMKilled`",
        Fault.PLATFORM,
        True,
        (Reason.DEPENDENCIES_NOT_INSTALLED,),
        "check the requirements and the package index",
    ),
    Cause.SIDECAR_FAILED: Meaning(
        "any other container fails: a sidecar or an init container, injected or from `spec.podTemplate`",
        Fault.PLATFORM,
        True,
        (Reason.SIDECAR_FAILED,),
        "read the log of the container that the message names",
    ),
    Cause.CONTAINER_LOST: Meaning(
        "a container ends with exit code 255 and the reason `Unknown`, or with `ContainerStatusUnknown`",
        Fault.PLATFORM,
        True,
        (Reason.NODE_LOST,),
        "nothing: the node restarted, and the container starts again",
    ),
    Cause.EVICTED: Meaning(
        "pod reason `Evicted` or `Preempting`",
        Fault.PLATFORM,
        True,
        (Reason.EVICTED,),
        "nothing: a new pod replaces it",
    ),
    Cause.DISRUPTED: Meaning(
        "condition `DisruptionTarget`: preemption, a drain, a taint, the pod garbage collector",
        Fault.PLATFORM,
        True,
        (Reason.EVICTED,),
        "nothing: a new pod replaces it",
    ),
    Cause.NODE_GONE: Meaning(
        "pod reason `NodeLost`, `NodeShutdown`, `Shutdown` or `Terminated`",
        Fault.PLATFORM,
        True,
        (Reason.NODE_LOST,),
        "nothing: a new pod replaces it",
    ),
    Cause.REFUSED_BY_NODE: Meaning(
        "pod reason `UnexpectedAdmissionError`, `OutOfcpu`, `OutOfmemory`, `OutOfpods` and others of this form, "
        "`NodeAffinity`, `NodePorts`, `TopologyAffinityError` and other refusals of the kubelet",
        Fault.PLATFORM,
        True,
        (Reason.REFUSED_BY_NODE,),
        "nothing: a new pod replaces it. If it happens again, check the node's device plugin",
    ),
    Cause.POD_ENDED: Meaning(
        "pod phase `Failed` or `Succeeded` for any other reason",
        Fault.PLATFORM,
        True,
        (Reason.POD_ENDED,),
        "nothing: a new pod replaces it",
    ),
    Cause.GATED: Meaning(
        "condition `PodScheduled` with the reason `SchedulingGated`",
        Fault.PLATFORM,
        True,
        (Reason.SCHEDULING_GATED,),
        "wait for the controller that sets the scheduling gate, such as Kueue",
    ),
    Cause.NO_NODE: Meaning(
        "condition `PodScheduled` with the reason `Unschedulable` or `SchedulerError`",
        Fault.PLATFORM,
        True,
        (Reason.UNSCHEDULABLE,),
        "wait for the autoscaler, request less, or add nodes",
    ),
    Cause.CLAIM_MISSING: Meaning(
        "condition `PodScheduled`: a PersistentVolumeClaim does not exist",
        Fault.PLATFORM,
        True,
        (Reason.VOLUME_NOT_FOUND,),
        "create the claim, or correct its name",
    ),
    Cause.OVER_QUOTA: Meaning(
        "condition `ReplicaFailure` of the Deployment: the quota of the namespace is used up",
        Fault.PLATFORM,
        True,
        (Reason.QUOTA_EXCEEDED,),
        "raise the quota, or delete other work",
    ),
    Cause.REFUSED_BY_API: Meaning(
        "condition `ReplicaFailure` of the Deployment: an admission webhook, Pod Security, a LimitRange",
        Fault.PLATFORM,
        True,
        (Reason.POD_REFUSED,),
        "satisfy the policy, or repair the webhook",
    ),
    Cause.STOPPED: Meaning(
        "the container `model` ends with exit code 0, 137 (not `OOMKilled`) or 143 and starts again: it was stopped, "
        "for example because the node shuts down",
        Fault.NONE,
        True,
        (),
        "nothing",
    ),
    Cause.DELETED: Meaning(
        "anything in a pod that is being deleted, and a pod that ended and is already replaced",
        Fault.NONE,
        True,
        (),
        "nothing",
    ),
    Cause.STARTING: Meaning(
        "a container waits with `PodInitializing` or `ContainerCreating`, or runs and is not ready yet",
        Fault.NONE,
        True,
        (),
        "nothing",
    ),
}
"""What each cause means."""

OWN_FAULTS: Final = frozenset(
    reason for meaning in CAUSES.values() if meaning.fault is Fault.VERSION for reason in meaning.reasons
)
"""The reasons for which a revision is rolled back or given up."""


def own_fault(problem: Problem | None) -> bool:
    """Tell whether the model version itself causes a problem of its pods."""
    return problem is not None and problem.reason in OWN_FAULTS


_POD_REASONS: Final[Mapping[str, Cause]] = {
    "Evicted": Cause.EVICTED,
    "Preempting": Cause.EVICTED,
    "NodeLost": Cause.NODE_GONE,
    "NodeShutdown": Cause.NODE_GONE,
    "Shutdown": Cause.NODE_GONE,
    "Terminated": Cause.NODE_GONE,
}
_REFUSALS: Final = frozenset(
    {
        "AdmissionFailed",
        "AppArmor",
        "InitContainerRestartPolicyForbidden",
        "InsufficientResources",
        "InvalidNodeInfo",
        "NodeAffinity",
        "NodeName",
        "NodePorts",
        "PodFeatureUnsupported",
        "PodLevelResourcesAdmissionUnsupported",
        "PodOSNotSupported",
        "PodOSSelectorNodeLabelDoesNotMatch",
        "SMTAlignmentError",
        "SupplementalGroupsPolicyNotSupported",
        "SysctlForbidden",
        "TopologyAffinityError",
        "UnexpectedAdmissionError",
        "VolumeAttachmentLimitExceeded",
    }
)
_WAITING: Final[Mapping[str, Cause]] = {
    "InvalidImageName": Cause.IMAGE_NAME_INVALID,
    "ErrImageNeverPull": Cause.IMAGE_MISSING,
    "ErrImagePull": Cause.IMAGE_NOT_PULLED,
    "ImagePullBackOff": Cause.IMAGE_NOT_PULLED,
    "RegistryUnavailable": Cause.IMAGE_NOT_PULLED,
    "ImageInspectError": Cause.IMAGE_NOT_PULLED,
    "SignatureValidationFailed": Cause.IMAGE_NOT_PULLED,
    "CreateContainerConfigError": Cause.CONTAINER_NOT_CONFIGURED,
    "CreateContainerError": Cause.CONTAINER_NOT_STARTED,
    "PreCreateHookError": Cause.CONTAINER_NOT_STARTED,
    "PreStartHookError": Cause.CONTAINER_NOT_STARTED,
    "PostStartHookError": Cause.CONTAINER_NOT_STARTED,
    "RunContainerError": Cause.CONTAINER_NOT_STARTED,
}
_TERMINATED: Final[Mapping[str, Cause]] = {
    "ContainerStatusUnknown": Cause.CONTAINER_LOST,
    "StartError": Cause.CONTAINER_NOT_STARTED,
    "ContainerCannotRun": Cause.CONTAINER_NOT_STARTED,
}
_STOPPED: Final = frozenset({0, 137, 143})
"""Exit codes of a container that something stopped: it ended in time, was killed after its grace period, or left the
signal to its default."""


def of_ended_pod(phase: str, reason: str) -> Cause | None:
    """Return why a pod ended, or None if it has not.

    Args:
        phase: status.phase of the pod.
        reason: status.reason of the pod.
    """
    if reason in _POD_REASONS:
        return _POD_REASONS[reason]
    if phase not in ("Failed", "Succeeded"):
        return None
    return Cause.REFUSED_BY_NODE if reason in _REFUSALS or reason.startswith("OutOf") else Cause.POD_ENDED


def of_waiting(reason: str, message: str) -> Cause | None:
    """Return why a container waits, or None if it only starts or is in back-off.

    The message tells an image that does not exist from an image registry that does not answer. It decides whether a
    user must act, never whether a version is rolled back.
    """
    cause = _WAITING.get(reason)
    return Cause.IMAGE_MISSING if cause is Cause.IMAGE_NOT_PULLED and "code = NotFound" in message else cause


def of_termination(reason: str, exit_code: int | None, in_back_off: bool) -> Cause | None:
    """Return what ended a container other than the container itself, or None.

    Args:
        reason: The reason of the terminated state.
        exit_code: The exit code, if it is known.
        in_back_off: Whether the container ends again and again, which is the container's own doing.
    """
    if exit_code == 255 and reason == "Unknown":
        return Cause.CONTAINER_LOST
    if reason in _TERMINATED:
        return _TERMINATED[reason]
    return Cause.STOPPED if exit_code in _STOPPED and reason != "OOMKilled" and not in_back_off else None
