"""Settings of the models' pods: what a platform team adds to every pod, so that no resource needs spec.podTemplate."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from sluicegate.api import names
from sluicegate.api.fields import FreeObject, ObjectName, doc
from sluicegate.api.gpu import KEY_PATTERN, Toleration
from sluicegate.config.base import SettingsType

USER: Final = {"runAsUser": 65532, "runAsGroup": 65532}
"""User and group of the scoring image."""
RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
RESERVED: Final = (f"{names.GROUP}/", names.LABEL_MANAGED_BY)
"""Prefixes of the keys that the operator itself sets on its children."""
LOCAL_VOLUMES: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"

Key = Annotated[str, Meta(pattern=KEY_PATTERN, max_length=316)]


def reserved(key: str) -> bool:
    """Tell whether only the operator sets the label or annotation `key`."""
    return key.startswith(RESERVED)


def _requests(memory: str) -> dict[str, Any]:
    return {"requests": {"cpu": "50m", "memory": memory}}


class SecretReference(SettingsType, frozen=True):
    """The name of a Secret."""

    name: Annotated[ObjectName, doc("Name of a Secret that exists in each workload namespace.")]


class FetchSettings(SettingsType, frozen=True):
    """The init container `fetch`, which copies the model into the pod."""

    resources: Annotated[
        FreeObject, doc("Resource requests and limits, where a LimitRange or a ResourceQuota requires others.")
    ] = msgspec.field(default_factory=lambda: _requests("128Mi"))
    security_context: Annotated[
        FreeObject,
        doc("Security context. `runAsUser: 1337` lets it reach the network under Istio's CNI plugin."),
    ] = msgspec.field(default_factory=lambda: {**USER, **RESTRICTED})


class InstallSettings(SettingsType, frozen=True):
    """The init container `install`, which installs the model's Python requirements."""

    resources: Annotated[
        FreeObject, doc("Resource requests and limits, where a LimitRange or a ResourceQuota requires others.")
    ] = msgspec.field(default_factory=lambda: _requests("256Mi"))
    security_context: Annotated[
        FreeObject,
        doc("Security context. `runAsUser: 1337` lets it reach the network under Istio's CNI plugin."),
    ] = msgspec.field(default_factory=lambda: {**USER, **RESTRICTED})


class PodSettings(SettingsType, frozen=True):
    """The models' pods. spec.podTemplate has precedence. Existing revisions keep the pods that they have.

    Each key replaces its default. In the chart's values, an object is merged with its default, and `null` removes a
    key from it.
    """

    security_context: Annotated[
        FreeObject,
        doc("Security context of the pods. On OpenShift, remove fsGroup: the platform chooses it."),
    ] = msgspec.field(
        default_factory=lambda: {
            "runAsNonRoot": True,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    )
    model_security_context: Annotated[
        FreeObject,
        doc(
            "Security context of the container `model`. runAsUser and runAsGroup apply only to the runtime mlflow, "
            "because other images have users of their own. On OpenShift, remove both."
        ),
    ] = msgspec.field(default_factory=lambda: {**RESTRICTED, **USER})
    fetch: Annotated[FetchSettings, doc("The init container that copies the model into the pod.")] = FetchSettings()
    install: Annotated[InstallSettings, doc("The init container that installs the model's Python requirements.")] = (
        InstallSettings()
    )
    labels: Annotated[dict[Key, str], doc("Additional labels of the pods.")] = {}
    annotations: Annotated[
        dict[Key, str],
        doc(
            "Annotations of the pods. The default allows the cluster autoscaler to remove a node although its pods "
            "have emptyDir volumes."
        ),
    ] = msgspec.field(default_factory=lambda: {LOCAL_VOLUMES: "tmp,model,environments"})
    node_selector: Annotated[
        dict[Key, str], doc("Labels that a node must have. spec.gpu.nodeSelector is merged over them.")
    ] = msgspec.field(default_factory=lambda: {"kubernetes.io/os": "linux"})
    tolerations: Annotated[
        tuple[Toleration, ...], doc("Taints that all pods tolerate, in addition to those of spec.gpu.")
    ] = ()
    priority_class_name: Annotated[str, doc("Priority class of the pods. Default: that of the cluster.")] = ""
    image_pull_secrets: Annotated[
        tuple[SecretReference, ...],
        doc("Secrets with credentials for image registries. The operator never copies them."),
    ] = ()

    def __post_init__(self) -> None:
        """Reject labels and annotations that only the operator sets."""
        for key in (*self.labels, *self.annotations):
            if reserved(key):
                raise ValueError(f"the key {key} is the operator's own. Use another key")
