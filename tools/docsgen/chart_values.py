"""The values of the Helm chart as types.

The schema of the values and their reference are generated from these types, so both match what the chart accepts. The
operator's own settings are under `settings`: `sluicegate.config.settings.Settings` without those that the chart sets.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from sluicegate.api.fields import DnsLabel, FreeObject, ObjectName, doc
from sluicegate.config.base import SettingsType
from sluicegate.config.pod_settings import LOCAL_VOLUMES, RESTRICTED, USER
from sluicegate.config.settings import Settings

DECIDED = ("namespace", "operatorNamespace", "leaderElection", "healthPort", "webhookPort")
"""Settings that follow from other values of the chart."""


class ImageValues(SettingsType, frozen=True):
    """The operator's image."""

    repository: Annotated[str, Meta(pattern=r"^[^\s@]+$"), doc("Name of the operator's image, without the tag.")] = (
        "ghcr.io/sluicegate/operator"
    )
    tag: Annotated[str, doc("Tag of the operator's image. Default: the chart's appVersion.")] = ""
    digest: Annotated[
        str,
        Meta(pattern="^(sha256:[0-9a-f]{64})?$"),
        doc("Digest of the operator's image, in the form sha256:HEX. It takes precedence over the tag."),
    ] = ""
    pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"], doc("imagePullPolicy of the operator's pods.")
    ] = "IfNotPresent"


class CrdValues(SettingsType, frozen=True):
    """The CustomResourceDefinition."""

    install: Annotated[
        bool,
        doc(
            "Install and upgrade the CustomResourceDefinition. `helm uninstall` keeps it, because deleting it "
            "deletes all ModelDeployments."
        ),
    ] = True


class WorkloadSecrets(SettingsType, frozen=True):
    """Secrets of one namespace that the operator may read."""

    namespace: Annotated[DnsLabel, doc("Namespace of the Secrets, and of the ModelDeployments that use them.")]
    names: Annotated[
        Annotated[tuple[ObjectName, ...], Meta(min_length=1)],
        doc("Names of the Secrets. An empty list would allow all Secrets, so at least one name is required."),
    ]


class RbacValues(SettingsType, frozen=True):
    """Permissions of the operator and of users."""

    workload_secrets: Annotated[
        tuple[WorkloadSecrets, ...],
        doc(
            "Secrets that the operator may read for spec.model.inlineRegistry.secretRef and "
            "spec.rollout.analysis.source.secretRef."
        ),
    ] = ()
    gateway_classes: Annotated[
        bool,
        doc(
            "Allow the operator to read GatewayClasses, even with watchNamespace. It needs them only for mirroring, "
            "and for Gateways on which several controllers report."
        ),
    ] = True
    aggregate: Annotated[
        bool,
        doc("Extend the ClusterRoles view, edit and admin to ModelDeployments. Has no effect with watchNamespace."),
    ] = True


class NetworkPolicyValues(SettingsType, frozen=True):
    """NetworkPolicies for the operator's pods."""

    enabled: Annotated[
        bool,
        doc(
            "Create NetworkPolicies that let only the following clients reach the operator's pods. Egress is not "
            "restricted."
        ),
    ] = False
    metrics_from: Annotated[
        tuple[FreeObject, ...],
        doc(
            "Clients of the port of /metrics and the health checks: the `from` of a NetworkPolicy. Most networks "
            "always let the kubelet of the pod's node through. Default: all."
        ),
    ] = ()
    webhooks_from: Annotated[
        tuple[FreeObject, ...], doc("Clients of the port of the webhooks: the `from` of a NetworkPolicy. Default: all.")
    ] = ()


class ServiceAccountValues(SettingsType, frozen=True):
    """The operator's ServiceAccount."""

    annotations: Annotated[dict[str, str], doc("Annotations of the ServiceAccount.")] = {}


class ServiceMonitorValues(SettingsType, frozen=True):
    """A ServiceMonitor for the Prometheus Operator."""

    enabled: Annotated[bool, doc("Create a ServiceMonitor.")] = False
    interval: Annotated[str, Meta(pattern="^[0-9]+(ms|s|m)$"), doc("Time between two scrapes, such as 30s.")] = "30s"
    labels: Annotated[dict[str, str], doc("Labels by which your Prometheus selects ServiceMonitors.")] = {}


class Values(SettingsType, frozen=True):
    """All values of the Helm chart."""

    image: Annotated[ImageValues, doc("The operator's image.")] = ImageValues()
    image_pull_secrets: Annotated[
        tuple[FreeObject, ...], doc("Secrets in the release's namespace with credentials for the image's registry.")
    ] = ()
    replicas: Annotated[
        int,
        Meta(ge=1, le=5),
        doc("Number of operator pods, from 1 to 5. One is the leader, and the others are on standby."),
    ] = 2
    watch_namespace: Annotated[
        str,
        Meta(pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", max_length=63),
        doc(
            "Namespace to watch. The operator has no permissions in other workload namespaces. Default: all namespaces."
        ),
    ] = ""
    settings: Annotated[
        Settings, doc("The operator's [settings](settings.md). A change restarts the operator's pods.")
    ] = Settings()
    crd: Annotated[CrdValues, doc("The CustomResourceDefinition.")] = CrdValues()
    rbac: Annotated[RbacValues, doc("Permissions of the operator and of users.")] = RbacValues()
    network_policy: Annotated[NetworkPolicyValues, doc("NetworkPolicies for the operator's pods.")] = (
        NetworkPolicyValues()
    )
    service_account: Annotated[ServiceAccountValues, doc("The operator's ServiceAccount.")] = ServiceAccountValues()
    resources: Annotated[FreeObject, doc("Resource requests and limits of the operator's container.")] = msgspec.field(
        default_factory=lambda: {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
    )
    env: Annotated[
        tuple[FreeObject, ...],
        doc("Additional environment variables of the operator's container, such as HTTPS_PROXY."),
    ] = ()
    pod_security_context: Annotated[
        FreeObject,
        doc("Security context of the operator's pods. On OpenShift, remove runAsUser and runAsGroup with `null`."),
    ] = msgspec.field(
        default_factory=lambda: {"runAsNonRoot": True, **USER, "seccompProfile": {"type": "RuntimeDefault"}}
    )
    security_context: Annotated[FreeObject, doc("Security context of the operator's container.")] = msgspec.field(
        default_factory=lambda: dict(RESTRICTED)
    )
    pod_disruption_budget: Annotated[
        bool, doc("Create a PodDisruptionBudget for the operator's pods, if there is more than one.")
    ] = True
    pod_annotations: Annotated[
        dict[str, str],
        doc(
            "Annotations of the operator's pods. The default allows the cluster autoscaler to remove a node although "
            "its pods have emptyDir volumes."
        ),
    ] = msgspec.field(default_factory=lambda: {LOCAL_VOLUMES: "tmp"})
    pod_labels: Annotated[dict[str, str], doc("Labels of the operator's pods.")] = {}
    node_selector: Annotated[dict[str, str], doc("Node selector of the operator's pods.")] = msgspec.field(
        default_factory=lambda: {"kubernetes.io/os": "linux"}
    )
    tolerations: Annotated[tuple[FreeObject, ...], doc("Tolerations of the operator's pods.")] = ()
    affinity: Annotated[FreeObject, doc("Affinity of the operator's pods.")] = {}
    priority_class_name: Annotated[str, doc("Priority class of the operator's pods.")] = ""
    service_monitor: Annotated[ServiceMonitorValues, doc("A ServiceMonitor for the Prometheus Operator.")] = (
        ServiceMonitorValues()
    )
    fullname_override: Annotated[
        str,
        Meta(pattern="^([a-z]([-a-z0-9]*[a-z0-9])?)?$", max_length=52),
        doc("Name of all objects. Default: the release's name, with `sluicegate` in it."),
    ] = ""


def schema() -> dict[str, Any]:
    """Return the content of values.schema.json.

    The schema is strict, so Helm rejects a misspelt key before it installs anything.
    """
    plain = _plain(msgspec.json.schema(Values))
    kinds: dict[str, Any] = plain["$defs"]
    values, settings = kinds.pop("Values"), kinds["Settings"]
    for key in DECIDED:
        del settings["properties"][key]
    # Helm adds this key to the values of every subchart.
    values["properties"]["global"] = {"type": "object"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **values, "$defs": kinds}


def schema_file() -> str:
    """Return the text of values.schema.json."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _plain(node: Any) -> Any:
    """Return a schema without the parts that Helm does not need.

    These are the project's own keys, titles, defaults, and null, which means absence to Helm.
    """
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "properties" in node:
        properties = {key: _plain(value) for key, value in node["properties"].items()}
        required = {"required": node["required"]} if node.get("required") else {}
        text = {"description": node["description"]} if "description" in node else {}
        return {**text, "type": "object", "properties": properties, **required, "additionalProperties": False}
    if "$defs" in node:
        return {"$defs": {key: _plain(value) for key, value in node["$defs"].items()}}
    if "anyOf" in node:
        present = [_plain(each) for each in node["anyOf"] if each != {"type": "null"}]
        if len(present) == 1:
            text = {"description": node["description"]} if "description" in node else {}
            return {**text, **present[0]}
        node = {**node, "anyOf": present}
    return {
        key: _plain(value)
        for key, value in node.items()
        if not key.startswith("x-") and key not in ("title", "default")
    }
