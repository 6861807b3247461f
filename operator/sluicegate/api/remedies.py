"""The meaning or remedy of each reason, and the meaning of each role.

The tables of `docs/guide/status.md` are generated from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from sluicegate.api.reasons import Reason
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


class Remedy(NamedTuple):
    """What to do about a reason, or what it means if there is nothing to do."""

    text: str
    also: str = ""
    """Other conditions that have the reason, for the guide."""


REMEDIES: Final[Mapping[Section, Mapping[Reason, Remedy]]] = {
    Section.NO_ACTION: {
        Reason.RESOLVING: Remedy("the operator is querying the registry", "ModelResolved"),
        Reason.NOT_SERVING_YET: Remedy("no revision has been ready yet", "Available, Ready"),
        Reason.WAITING_FOR_PODS: Remedy(
            "pods of the new revision start, and fetch and load the model", "Ready, TrafficRouted"
        ),
        Reason.PODS_NOT_READY: Remedy("fewer pods are ready than declared, or none", "Ready, Available"),
        Reason.NO_READY_PODS: Remedy("fewer pods are ready than declared, or none", "Ready, Available"),
        Reason.SCALED_TO_ZERO: Remedy(
            "`spec.scaling.replicas` is 0, so no pod runs and no request is answered; the message names a version that "
            "waits for pods",
            "Ready, Available",
        ),
        Reason.ROUTE_PENDING: Remedy("the gateway has not accepted the route yet", "Ready, Available, TrafficRouted"),
        Reason.SHIFTING_TRAFFIC: Remedy("traffic is moving to the new revision", "Ready, TrafficRouted"),
        Reason.ROLLING_OUT: Remedy(
            "a rollout by steps is in progress; the message has the step and what it waits for", "Ready"
        ),
        Reason.REPLACING: Remedy(
            "`whenFull: Replace`: the operator removes pods of the old revision, one at a time, to free capacity",
            "Ready",
        ),
        Reason.SERVING: Remedy("no problem"),
        Reason.RESOLVED: Remedy("no problem"),
        Reason.ACCEPTED: Remedy("no problem"),
        Reason.COMPLETE: Remedy("no problem"),
        Reason.SERVICE_ONLY: Remedy("no problem"),
        Reason.NOT_STALLED: Remedy("no problem"),
    },
    Section.SPEC: {
        Reason.PAUSED: Remedy("`spec.paused` holds the change: set it to false"),
        Reason.PINNED: Remedy("the annotation `sluicegate.dev/pin` holds a revision: remove it to follow the spec"),
        Reason.ABORTED: Remedy(
            "the annotation `sluicegate.dev/abort` names this revision: change the spec, remove the annotation, "
            "or run `sluicegate retry NAME`"
        ),
        Reason.PINNED_REVISION_UNKNOWN: Remedy(
            "`sluicegate.dev/pin` names a revision that does not exist: use one from the list in the message"
        ),
        Reason.PROMOTE_REFUSED: Remedy(
            "to promote a declared canary, write it into the base of the spec: see [canaries](canary.md)"
        ),
        Reason.SAME_AS_STABLE: Remedy(
            "nothing: `spec.canary` is the revision that already serves, so there is no canary"
        ),
        Reason.SIGNATURE_CHANGED: Remedy(
            "the signature of the new version is not compatible with that of stable, so it receives no requests: "
            "return to a compatible version, or set `allowSignatureChange` when the callers are ready ([what is "
            "compared](follow.md#signature-changes))"
        ),
        Reason.RUNTIME_UNKNOWN: Remedy("correct `spec.runtime.name`; the message lists the runtimes that exist"),
        Reason.IMAGE_MISSING: Remedy("set `spec.runtime.image`: this runtime has no default image"),
        Reason.INVALID_RUNTIME: Remedy(
            "the platform's runtime template does not render a container: correct it in the settings"
        ),
        Reason.INVALID_GPU: Remedy(
            "the CRD in the cluster is older than the operator: apply the new one, and correct the named field of "
            "`spec.gpu`"
        ),
        Reason.INVALID_POD_TEMPLATE: Remedy("correct the named field of `spec.podTemplate`"),
        Reason.FIELD_TOO_LARGE: Remedy(
            "`spec.podTemplate` and the other fields with objects of other APIs have more than 64 KiB together: move "
            "large values to a ConfigMap or a volume. Until then, the operator changes nothing"
        ),
        Reason.NAME_TAKEN: Remedy(
            "another object has a child's name: remove it, or rename the ModelDeployment. If the object belongs to a "
            "deleted ModelDeployment, wait for garbage collection"
        ),
        Reason.UNDECODABLE: Remedy(
            "the operator cannot decode a child object: delete the object that the message names"
        ),
        Reason.APPLY_REFUSED: Remedy(
            "the message has the object and the API server's text: correct what a policy or a check of the API server "
            "names. An admission webhook that is down and a full quota may pass: the operator retries, and the "
            "resource is Stalled after `spec.rollout.progressDeadline`"
        ),
        Reason.FIELD_CONFLICT: Remedy(
            "another client changes a field of a child back after each write of the operator: configure one of them to "
            "leave the field. The message names the field and its other field manager"
        ),
        Reason.OTHER_OPERATOR: Remedy(
            "another Sluicegate operator acts on the namespace, but does not report on the resource: check that "
            "operator, or uninstall it ([which one acts](operations.md#two-operators))"
        ),
    },
    Section.ROLLOUT: {
        Reason.WAITING_FOR_CAPACITY: Remedy(
            "no node has room for the pods: wait, free or add nodes, or set `spec.rollout.whenFull: Replace` "
            "([what it costs](rollouts.md#capacity)). The operator does not roll back for this reason"
        ),
        Reason.HOLDING: Remedy("nothing: the hold or pause ends at the time in the message"),
        Reason.INCONCLUSIVE: Remedy(
            "the hold is over and the analysis has not passed: send requests, wait for `minSamples`, or fix the "
            "metrics source that the message names; `sluicegate promote NAME` continues without it"
        ),
        Reason.ROLLOUT_PAUSED: Remedy(
            "a step waits for an approver: `sluicegate promote NAME` or `abort NAME`; or the annotation `pause` "
            "holds it: `sluicegate resume NAME`",
            "Ready",
        ),
        Reason.PROMOTING: Remedy("nothing: the candidate becomes stable when it has the pods for all requests"),
        Reason.ROLLED_BACK: Remedy(
            "a metric failed, or pods crashed: the message has the measurement. Release a better version, or run "
            "`sluicegate retry NAME` ([how to continue](rollouts.md#after-a-rollback))",
            "Ready",
        ),
    },
    Section.MODEL: {
        Reason.INVALID_MODEL_URI: Remedy("correct `spec.model.uri`; the message lists the forms"),
        Reason.MODEL_NOT_FOUND: Remedy("the message lists what exists instead: register or set it, or correct the URI"),
        Reason.VERSION_NOT_FOUND: Remedy(
            "the message lists what exists instead: register or set it, or correct the URI"
        ),
        Reason.ALIAS_NOT_FOUND: Remedy("the message lists what exists instead: register or set it, or correct the URI"),
        Reason.STAGE_EMPTY: Remedy("the message lists what exists instead: register or set it, or correct the URI"),
        Reason.VERSION_NOT_READY: Remedy(
            "if the version is still being registered, wait; if that failed, register it again"
        ),
        Reason.RUN_NOT_FOUND: Remedy("correct the ID or path"),
        Reason.LOGGED_MODEL_NOT_FOUND: Remedy("correct the ID or path"),
        Reason.ARTIFACT_NOT_FOUND: Remedy("correct the ID or path"),
        Reason.SOURCE_UNSUPPORTED: Remedy(
            "no pod can fetch artifacts from this location, such as a directory of the MLflow server: serve "
            "artifacts by proxy, or use s3"
        ),
        Reason.REGISTRY_UNKNOWN: Remedy("correct `spec.model.registry`, or ask the platform team to add the registry"),
        Reason.REGISTRY_UNREACHABLE: Remedy(
            "check the MLflow server and its URL; the operator retries without user action. Correct an address "
            "that no request can be sent to (a bad host name or port)"
        ),
        Reason.REGISTRY_ERROR: Remedy(
            "check the MLflow server and its URL; the operator retries without user action. Correct an address "
            "that no request can be sent to (a bad host name or port)"
        ),
        Reason.REGISTRY_INVALID_ANSWER: Remedy(
            "check the MLflow server and its URL; the operator retries without user action. Correct an address "
            "that no request can be sent to (a bad host name or port)"
        ),
        Reason.INTERNAL_ERROR: Remedy(
            "the operator has a bug: report it with the traceback from its log. The revision that serves is not "
            "affected, and the operator retries",
            "(Ready too)",
        ),
        Reason.REGISTRY_UNAUTHORIZED: Remedy("correct the registry's Secret, or the user's permissions"),
        Reason.REGISTRY_FORBIDDEN: Remedy("correct the registry's Secret, or the user's permissions"),
        Reason.REGISTRY_HOST_REFUSED: Remedy("add the host name to the server's `MLFLOW_SERVER_ALLOWED_HOSTS`"),
        Reason.SECRET_NOT_FOUND: Remedy(
            "create the named Secret with the named keys; for an inline registry, allow the operator to read it "
            "([models](models.md))"
        ),
        Reason.SECRET_INVALID: Remedy(
            "create the named Secret with the named keys; for an inline registry, allow the operator to read it "
            "([models](models.md))"
        ),
        Reason.DEPENDENCIES_NOT_INSTALLED: Remedy(
            "the message has uv's output: correct the model's requirements, the index, the proxy or the time "
            "limit ([runtimes](runtimes.md#install-the-dependencies)); the operator retries without user action"
        ),
        Reason.MODEL_FETCH_FAILED: Remedy("the message has the last log lines of the container `fetch`"),
        Reason.MODEL_DEPENDENCY_MISSING: Remedy(
            "the image lacks the named packages: use an image that has them, or set `spec.runtime.dependencies: "
            "Install` ([runtimes](runtimes.md#model-dependencies))"
        ),
        Reason.MODEL_LOAD_FAILED: Remedy("the model was fetched and does not load: the message has the exception"),
        Reason.ARTIFACTS_DIFFER: Remedy(
            "the source was overwritten after it was registered: register a new version, or set the annotation "
            "`sluicegate.dev/roll`"
        ),
    },
    Section.PODS: {
        Reason.INVALID_IMAGE_NAME: Remedy("correct the image's name in `spec.runtime.image` or `spec.podTemplate`"),
        Reason.IMAGE_PULL_FAILED: Remedy(
            "check the image's name and tag, and `imagePullSecrets` in `spec.podTemplate`"
        ),
        Reason.CRASH_LOOP_BACK_OFF: Remedy("the message has the exit code and the last log line"),
        Reason.CONTAINER_FAILED: Remedy("the message has the exit code and the last log line"),
        Reason.OOM_KILLED: Remedy("raise `spec.resources.limits.memory`"),
        Reason.SIDECAR_FAILED: Remedy(
            "a container that is not the model's fails, such as an injected sidecar: read its log"
        ),
        Reason.UNSCHEDULABLE: Remedy(
            "the message has the scheduler's text: request less, or add nodes. If the nodes are full, the pod "
            "starts when there is room. Without a suitable node, the resource is Stalled after "
            "`spec.rollout.progressDeadline`; for GPUs see [gpu](gpu.md#when-no-node-fits-the-pod)"
        ),
        Reason.SCHEDULING_GATED: Remedy("wait for the controller that set the pod's scheduling gate, such as Kueue"),
        Reason.QUOTA_EXCEEDED: Remedy(
            "raise the quota, or satisfy the namespace's policy: the message names the field. The resource is Stalled "
            "after `spec.rollout.progressDeadline`"
        ),
        Reason.POD_REFUSED: Remedy(
            "raise the quota, or satisfy the namespace's policy: the message names the field. The resource is Stalled "
            "after `spec.rollout.progressDeadline`"
        ),
        Reason.VOLUME_NOT_FOUND: Remedy("create the PersistentVolumeClaim, or correct its name"),
        Reason.CONFIG_MAP_NOT_FOUND: Remedy(
            "create the named object or key; the pod then starts without further action"
        ),
        Reason.SECRET_KEY_NOT_FOUND: Remedy(
            "create the named object or key; the pod then starts without further action"
        ),
        Reason.CONFIG_MAP_KEY_NOT_FOUND: Remedy(
            "create the named object or key; the pod then starts without further action"
        ),
        Reason.CONTAINER_CONFIG_ERROR: Remedy(
            "create the named object or key; the pod then starts without further action"
        ),
        Reason.EVICTED: Remedy(
            "nothing: a new pod replaces it; if it happens again, request the memory and disk that the pod needs"
        ),
        Reason.NODE_LOST: Remedy("nothing: the container starts again, or a new pod replaces the lost one"),
        Reason.REFUSED_BY_NODE: Remedy(
            "nothing: a new pod replaces it; if it happens again, check the device plugin and the kubelet of the node "
            "in the message"
        ),
        Reason.POD_ENDED: Remedy("nothing: a new pod replaces it; the message has the pod's reason"),
        Reason.PROGRESS_DEADLINE_EXCEEDED: Remedy(
            "the pods were not ready within `spec.rollout.progressDeadline`: read their logs, or raise it"
        ),
        Reason.AUTOSCALER_WITHOUT_METRICS: Remedy(
            "the message has the HPA's text: metrics-server is missing, or the pods have no CPU request"
        ),
        Reason.FAILED: Remedy(
            "the pods of the revision did not become ready, and the operator gave up on it: run `sluicegate retry "
            "NAME`, or change the spec"
        ),
    },
    Section.TRAFFIC: {
        Reason.GATEWAY_API_MISSING: Remedy("install the Gateway API's CRDs"),
        Reason.GATEWAY_NOT_FOUND: Remedy("create the Gateway, or correct `parentRefs`"),
        Reason.GATEWAY_REQUIRED: Remedy(
            "the named field of `spec.canary` or `spec.rollout.steps` needs a gateway: name one, or remove the field"
        ),
        Reason.GATEWAY_LACKS_FEATURE: Remedy(
            "the GatewayClass does not offer a feature that the route needs, which the message names: use another "
            "gateway"
        ),
        Reason.PATH_NOT_ALLOWED: Remedy(
            "the platform allows only path prefixes below `/NAMESPACE`: change `pathPrefix`, or remove it"
        ),
        Reason.ROUTE_CONFLICT: Remedy(
            "another resource claimed this host and path first, or one that overlaps: change `pathPrefix`"
        ),
        Reason.ROUTE_REFUSED: Remedy("the message has the gateway's text"),
    },
    Section.STALE: {
        Reason.CURRENT: Remedy("the newest version serves"),
        Reason.WAITING: Remedy("a newer version has waited for less than `spec.model.maxStaleness`"),
        Reason.NEWER_VERSION: Remedy(
            "a newer version has waited longer than `spec.model.maxStaleness`: the message says what keeps it "
            "from serving"
        ),
    },
}
"""The remedy of each reason, by the section of the guide that lists it."""

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
