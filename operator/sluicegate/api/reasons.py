"""The reasons of conditions, rollouts and revisions, and the roles of revisions, each with its meaning or remedy.

The tables of `docs/guide/status.md` are generated from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sluicegate.api.status import Role


class Section(StrEnum):
    """A section of the status guide."""

    NO_ACTION = "Reasons that need no action"
    SPEC = "Spec"
    ROLLOUT = "Rollouts"
    MODEL = "Model"
    PODS = "Pods"
    TRAFFIC = "Traffic"
    STALE = "Staleness"


class Reason(StrEnum):
    """One cause, as one CamelCase word.

    Attributes:
        section: Where the guide lists it.
        remedy: What to do, or what it means if there is nothing to do.
        also: Other conditions that have it, for the guide.
    """

    section: Section
    remedy: str
    also: str

    def __new__(cls, value: str, section: Section = Section.PODS, remedy: str = "", also: str = "") -> Reason:
        """Create a member."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.section, member.remedy, member.also = section, remedy, also
        return member

    @classmethod
    def _missing_(cls, value: object) -> Reason:
        """Read a reason of a newer operator as Failed."""
        return cls.FAILED

    RESOLVING = (
        "Resolving",
        Section.NO_ACTION,
        "the operator is querying the registry",
        "ModelResolved",
    )
    NOT_SERVING_YET = (
        "NotServingYet",
        Section.NO_ACTION,
        "no revision has been ready yet",
        "Available, Ready",
    )
    WAITING_FOR_PODS = (
        "WaitingForPods",
        Section.NO_ACTION,
        "pods of the new revision start, and fetch and load the model",
        "Ready, TrafficRouted",
    )
    PODS_NOT_READY = (
        "PodsNotReady",
        Section.NO_ACTION,
        "fewer pods are ready than declared, or none",
        "Ready, Available",
    )
    NO_READY_PODS = (
        "NoReadyPods",
        Section.NO_ACTION,
        "fewer pods are ready than declared, or none",
        "Ready, Available",
    )
    ROUTE_PENDING = (
        "RoutePending",
        Section.NO_ACTION,
        "the gateway has not accepted the route yet",
        "Ready, Available, TrafficRouted",
    )
    SHIFTING_TRAFFIC = (
        "ShiftingTraffic",
        Section.NO_ACTION,
        "traffic is moving to the new revision",
        "Ready, TrafficRouted",
    )
    ROLLING_OUT = (
        "RollingOut",
        Section.NO_ACTION,
        "a rollout by steps is in progress; the message has the step and what it waits for",
        "Ready",
    )
    REPLACING = (
        "Replacing",
        Section.NO_ACTION,
        "`whenFull: Replace`: the operator removes pods of the old revision, one at a time, to free capacity",
        "Ready",
    )
    SERVING = (
        "Serving",
        Section.NO_ACTION,
        "no problem",
    )
    RESOLVED = (
        "Resolved",
        Section.NO_ACTION,
        "no problem",
    )
    ACCEPTED = (
        "Accepted",
        Section.NO_ACTION,
        "no problem",
    )
    COMPLETE = (
        "Complete",
        Section.NO_ACTION,
        "no problem",
    )
    SERVICE_ONLY = (
        "ServiceOnly",
        Section.NO_ACTION,
        "no problem",
    )
    NOT_STALLED = (
        "NotStalled",
        Section.NO_ACTION,
        "no problem",
    )
    PAUSED = (
        "Paused",
        Section.SPEC,
        "`spec.paused` holds the change: set it to false",
    )
    PINNED = (
        "Pinned",
        Section.SPEC,
        "the annotation `sluicegate.dev/pin` holds a revision: remove it to follow the spec",
    )
    ABORTED = (
        "Aborted",
        Section.SPEC,
        "the annotation `sluicegate.dev/abort` names this revision: change the spec, remove the annotation, or run "
        "`sluicegate retry NAME`",
    )
    PINNED_REVISION_UNKNOWN = (
        "PinnedRevisionUnknown",
        Section.SPEC,
        "`sluicegate.dev/pin` names a revision that does not exist: use one from the list in the message",
    )
    PROMOTE_REFUSED = (
        "PromoteRefused",
        Section.SPEC,
        "to promote a declared canary, write it into the base of the spec: see [canaries](canary.md)",
    )
    SAME_AS_STABLE = (
        "SameAsStable",
        Section.SPEC,
        "nothing: `spec.canary` is the revision that already serves, so there is no canary",
    )
    SIGNATURE_CHANGED = (
        "SignatureChanged",
        Section.SPEC,
        "the signature of the new version is not compatible with that of stable, so it receives no requests: "
        "return to a compatible version, or set `allowSignatureChange` when the callers are ready ([what is "
        "compared](follow.md#signature-changes))",
    )
    RUNTIME_UNKNOWN = (
        "RuntimeUnknown",
        Section.SPEC,
        "correct `spec.runtime.name`; the message lists the runtimes that exist",
    )
    IMAGE_MISSING = (
        "ImageMissing",
        Section.SPEC,
        "set `spec.runtime.image`: this runtime has no default image",
    )
    INVALID_RUNTIME = (
        "InvalidRuntime",
        Section.SPEC,
        "the platform's runtime template does not render a container: correct it in the settings",
    )
    INVALID_GPU = (
        "InvalidGpu",
        Section.SPEC,
        "the CRD in the cluster is older than the operator: apply the new one, and correct the named field of "
        "`spec.gpu`",
    )
    INVALID_POD_TEMPLATE = (
        "InvalidPodTemplate",
        Section.SPEC,
        "correct the named field of `spec.podTemplate`",
    )
    NAME_TAKEN = (
        "NameTaken",
        Section.SPEC,
        "another object has a child's name: remove it, or rename the ModelDeployment",
    )
    UNDECODABLE = (
        "Undecodable",
        Section.SPEC,
        "the operator cannot decode a child object: delete the object that the message names",
    )
    APPLY_REFUSED = (
        "ApplyRefused",
        Section.SPEC,
        "the message has the API server's text: an admission policy, a missing permission, a limit",
    )
    WAITING_FOR_CAPACITY = (
        "WaitingForCapacity",
        Section.ROLLOUT,
        "no node has room for the pods: wait, free or add nodes, or set `spec.rollout.whenFull: Replace` ([what it "
        "costs](rollouts.md#capacity)). The operator does not roll back for this reason",
    )
    HOLDING = (
        "Holding",
        Section.ROLLOUT,
        "nothing: the hold or pause ends at the time in the message",
    )
    INCONCLUSIVE = (
        "Inconclusive",
        Section.ROLLOUT,
        "the hold is over and the analysis has not passed: send requests, wait for `minSamples`, or fix the metrics "
        "source that the message names; `sluicegate promote NAME` continues without it",
    )
    ROLLOUT_PAUSED = (
        "RolloutPaused",
        Section.ROLLOUT,
        "a step waits for an approver: `sluicegate promote NAME` or `abort NAME`; or the annotation `pause` holds it:"
        " `sluicegate resume NAME`",
        "Ready",
    )
    PROMOTING = (
        "Promoting",
        Section.ROLLOUT,
        "nothing: the candidate becomes stable when it has the pods for all requests",
    )
    ROLLED_BACK = (
        "RolledBack",
        Section.ROLLOUT,
        "a metric failed, or pods crashed: the message has the measurement. Release a better version, or run "
        "`sluicegate retry NAME` ([how to continue](rollouts.md#after-a-rollback))",
        "Ready",
    )
    INVALID_MODEL_URI = (
        "InvalidModelURI",
        Section.MODEL,
        "correct `spec.model.uri`; the message lists the forms",
    )
    MODEL_NOT_FOUND = (
        "ModelNotFound",
        Section.MODEL,
        "the message lists what exists instead: register or set it, or correct the URI",
    )
    VERSION_NOT_FOUND = (
        "VersionNotFound",
        Section.MODEL,
        "the message lists what exists instead: register or set it, or correct the URI",
    )
    ALIAS_NOT_FOUND = (
        "AliasNotFound",
        Section.MODEL,
        "the message lists what exists instead: register or set it, or correct the URI",
    )
    STAGE_EMPTY = (
        "StageEmpty",
        Section.MODEL,
        "the message lists what exists instead: register or set it, or correct the URI",
    )
    VERSION_NOT_READY = (
        "VersionNotReady",
        Section.MODEL,
        "if the version is still being registered, wait; if that failed, register it again",
    )
    RUN_NOT_FOUND = (
        "RunNotFound",
        Section.MODEL,
        "correct the ID or path",
    )
    LOGGED_MODEL_NOT_FOUND = (
        "LoggedModelNotFound",
        Section.MODEL,
        "correct the ID or path",
    )
    ARTIFACT_NOT_FOUND = (
        "ArtifactNotFound",
        Section.MODEL,
        "correct the ID or path",
    )
    SOURCE_UNSUPPORTED = (
        "SourceUnsupported",
        Section.MODEL,
        "no pod can fetch artifacts from this location, such as a directory of the MLflow server: serve artifacts by "
        "proxy, or use s3",
    )
    REGISTRY_UNKNOWN = (
        "RegistryUnknown",
        Section.MODEL,
        "correct `spec.model.registry`, or ask the platform team to add the registry",
    )
    REGISTRY_UNREACHABLE = (
        "RegistryUnreachable",
        Section.MODEL,
        "check the MLflow server and its URL; the operator retries without user action. Correct an address that no "
        "request can be sent to (a bad host name or port)",
    )
    REGISTRY_ERROR = (
        "RegistryError",
        Section.MODEL,
        "check the MLflow server and its URL; the operator retries without user action. Correct an address that no "
        "request can be sent to (a bad host name or port)",
    )
    REGISTRY_INVALID_ANSWER = (
        "RegistryInvalidAnswer",
        Section.MODEL,
        "check the MLflow server and its URL; the operator retries without user action. Correct an address that no "
        "request can be sent to (a bad host name or port)",
    )
    INTERNAL_ERROR = (
        "InternalError",
        Section.MODEL,
        "the operator has a bug: report it with the traceback from its log. The revision that serves is not affected,"
        " and the operator retries",
        "(Ready too)",
    )
    REGISTRY_UNAUTHORIZED = (
        "RegistryUnauthorized",
        Section.MODEL,
        "correct the registry's Secret, or the user's permissions",
    )
    REGISTRY_FORBIDDEN = (
        "RegistryForbidden",
        Section.MODEL,
        "correct the registry's Secret, or the user's permissions",
    )
    REGISTRY_HOST_REFUSED = (
        "RegistryHostRefused",
        Section.MODEL,
        "add the host name to the server's `MLFLOW_SERVER_ALLOWED_HOSTS`",
    )
    SECRET_NOT_FOUND = (
        "SecretNotFound",
        Section.MODEL,
        "create the named Secret with the named keys; for an inline registry, allow the operator to read it "
        "([models](models.md))",
    )
    SECRET_INVALID = (
        "SecretInvalid",
        Section.MODEL,
        "create the named Secret with the named keys; for an inline registry, allow the operator to read it "
        "([models](models.md))",
    )
    DEPENDENCIES_NOT_INSTALLED = (
        "DependenciesNotInstalled",
        Section.MODEL,
        "the message has uv's output: correct the model's requirements, the index, the proxy or the time limit "
        "([runtimes](runtimes.md#install-the-dependencies)); the operator retries without user action",
    )
    MODEL_FETCH_FAILED = (
        "ModelFetchFailed",
        Section.MODEL,
        "the message has the last log lines of the container `fetch`",
    )
    MODEL_DEPENDENCY_MISSING = (
        "ModelDependencyMissing",
        Section.MODEL,
        "the image lacks the named packages: use an image that has them, or set `spec.runtime.dependencies: Install` "
        "([runtimes](runtimes.md#model-dependencies))",
    )
    MODEL_LOAD_FAILED = (
        "ModelLoadFailed",
        Section.MODEL,
        "the model was fetched and does not load: the message has the exception",
    )
    ARTIFACTS_DIFFER = (
        "ArtifactsDiffer",
        Section.MODEL,
        "the source was overwritten after it was registered: register a new version, or set the annotation "
        "`sluicegate.dev/roll`",
    )
    IMAGE_PULL_FAILED = (
        "ImagePullFailed",
        Section.PODS,
        "check the image's name and tag, and `imagePullSecrets` in `spec.podTemplate`",
    )
    CRASH_LOOP_BACK_OFF = (
        "CrashLoopBackOff",
        Section.PODS,
        "the message has the exit code and the last log line",
    )
    CONTAINER_FAILED = (
        "ContainerFailed",
        Section.PODS,
        "the message has the exit code and the last log line",
    )
    OOM_KILLED = (
        "OOMKilled",
        Section.PODS,
        "raise `spec.resources.limits.memory`",
    )
    UNSCHEDULABLE = (
        "Unschedulable",
        Section.PODS,
        "the message has the scheduler's text: request less, or add nodes. If the nodes are full, the pod starts when"
        " there is room. Without a suitable node, the resource is Stalled after `spec.rollout.progressDeadline`; for "
        "GPUs see [gpu](gpu.md#when-no-node-fits-the-pod)",
    )
    QUOTA_EXCEEDED = (
        "QuotaExceeded",
        Section.PODS,
        "raise the quota, or satisfy the namespace's policy",
    )
    POD_REFUSED = (
        "PodRefused",
        Section.PODS,
        "raise the quota, or satisfy the namespace's policy",
    )
    VOLUME_NOT_FOUND = (
        "VolumeNotFound",
        Section.PODS,
        "create the PersistentVolumeClaim, or correct its name",
    )
    CONFIG_MAP_NOT_FOUND = (
        "ConfigMapNotFound",
        Section.PODS,
        "create the named object or key; the pod then starts without further action",
    )
    SECRET_KEY_NOT_FOUND = (
        "SecretKeyNotFound",
        Section.PODS,
        "create the named object or key; the pod then starts without further action",
    )
    CONFIG_MAP_KEY_NOT_FOUND = (
        "ConfigMapKeyNotFound",
        Section.PODS,
        "create the named object or key; the pod then starts without further action",
    )
    CONTAINER_CONFIG_ERROR = (
        "ContainerConfigError",
        Section.PODS,
        "create the named object or key; the pod then starts without further action",
    )
    EVICTED = (
        "Evicted",
        Section.PODS,
        "nothing: a new pod replaces it; if it happens again, request the memory and disk that the pod needs",
    )
    PROGRESS_DEADLINE_EXCEEDED = (
        "ProgressDeadlineExceeded",
        Section.PODS,
        "the pods were not ready within `spec.rollout.progressDeadline`: read their logs, or raise it",
    )
    AUTOSCALER_WITHOUT_METRICS = (
        "AutoscalerWithoutMetrics",
        Section.PODS,
        "the message has the HPA's text: metrics-server is missing, or the pods have no CPU request",
    )
    FAILED = (
        "Failed",
        Section.PODS,
        "the pods of the revision did not become ready, and the operator gave up on it: run `sluicegate retry NAME`, "
        "or change the spec",
    )
    GATEWAY_API_MISSING = (
        "GatewayAPIMissing",
        Section.TRAFFIC,
        "install the Gateway API's CRDs",
    )
    GATEWAY_NOT_FOUND = (
        "GatewayNotFound",
        Section.TRAFFIC,
        "create the Gateway, or correct `parentRefs`",
    )
    GATEWAY_REQUIRED = (
        "GatewayRequired",
        Section.TRAFFIC,
        "the named field of `spec.canary` or `spec.rollout.steps` needs a gateway: name one, or remove the field",
    )
    GATEWAY_LACKS_FEATURE = (
        "GatewayLacksFeature",
        Section.TRAFFIC,
        "the GatewayClass does not offer a feature that the route needs, which the message names: use another gateway",
    )
    ROUTE_CONFLICT = (
        "RouteConflict",
        Section.TRAFFIC,
        "an older resource has this host and path: change `pathPrefix`",
    )
    ROUTE_REFUSED = (
        "RouteRefused",
        Section.TRAFFIC,
        "the message has the gateway's text",
    )
    CURRENT = (
        "Current",
        Section.STALE,
        "the newest version serves",
    )
    WAITING = (
        "Waiting",
        Section.STALE,
        "a newer version has waited for less than `spec.model.maxStaleness`",
    )
    NEWER_VERSION = (
        "NewerVersion",
        Section.STALE,
        "a newer version has waited longer than `spec.model.maxStaleness`: the message says what keeps it from serving",
    )


IN_ROLLOUTS: Final[Mapping[Reason, str]] = {
    Reason.WAITING_FOR_PODS: (
        "nothing: pods for the next share start. If a problem delays them, `Ready` has its reason"
    ),
    Reason.SHIFTING_TRAFFIC: (
        "nothing: the gateway is applying the share. If it lasts longer than a minute, check the gateway's controller"
    ),
    Reason.PAUSED: ("`spec.paused` freezes the rollout: set it to false"),
    Reason.SIGNATURE_CHANGED: (
        "the step cannot be taken, as described under Spec and Traffic: correct what the message names"
    ),
    Reason.GATEWAY_REQUIRED: (
        "the step cannot be taken, as described under Spec and Traffic: correct what the message names"
    ),
    Reason.GATEWAY_LACKS_FEATURE: (
        "the step cannot be taken, as described under Spec and Traffic: correct what the message names"
    ),
}
"""What these reasons mean in `status.rollout.reason`, where it differs."""

ROLES: Final[Mapping[Role, str]] = {
    Role.STABLE: "serves",
    Role.CANDIDATE: "is being rolled out, and then becomes stable",
    Role.CANARY: "is the declared canary (`spec.canary`)",
    Role.NEXT_CANARY: "replaces the present canary once it is ready",
    Role.RETIRING: "still receives traffic, which the operator is moving away from it",
    Role.PARKED: "receives no traffic. Its pods stop `scaleDownDelay` after `releasedAt`",
    Role.FAILED: "did not become ready or was rolled back. The operator does not try it again until the spec or the "
    "model changes, or `sluicegate retry NAME`",
}
"""The meaning of each role."""
