"""The values of the Helm chart as types: their schema and reference are generated, so that the chart promises nothing else.

What the operator itself reads stands under `settings` and is `sluicegate.config.settings.Settings`, less what the chart decides.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from sluicegate.api.fields import DnsLabel, FreeObject, ObjectName, doc
from sluicegate.config.settings import Settings, SettingsType

DECIDED = ("namespace", "operatorNamespace", "leaderElection", "healthPort", "webhookPort")
"""Settings that follow from the rest of the chart."""


class ImageValues(SettingsType, frozen=True):
    """The operator's image."""

    repository: Annotated[str, Meta(pattern=r"^[^\s@]+$"), doc("Its name, without tag.")] = (
        "ghcr.io/sluicegate/operator"
    )
    tag: Annotated[str, doc("Its tag. Default: the chart's appVersion.")] = ""
    digest: Annotated[
        str, Meta(pattern="^(sha256:[0-9a-f]{64})?$"), doc("Its digest, sha256:...; wins over the tag.")
    ] = ""
    pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"], doc("imagePullPolicy.")] = "IfNotPresent"


class CrdValues(SettingsType, frozen=True):
    """The CustomResourceDefinition."""

    install: Annotated[bool, doc("Install and upgrade it. It stays at an uninstall: with it all models would go.")] = (
        True
    )


class WorkloadSecrets(SettingsType, frozen=True):
    """Secrets of one namespace."""

    namespace: Annotated[DnsLabel, doc("The namespace of the ModelDeployments that use them.")]
    names: Annotated[
        Annotated[tuple[ObjectName, ...], Meta(min_length=1)], doc("Their names; no name would mean all, so name them.")
    ]


class RbacValues(SettingsType, frozen=True):
    """Who may do what."""

    workload_secrets: Annotated[
        tuple[WorkloadSecrets, ...],
        doc(
            "Secrets that spec.model.inlineRegistry.secretRef and spec.rollout.analysis.source.secretRef may name, so that the operator may read them."
        ),
    ] = ()
    gateway_classes: Annotated[
        bool, doc("With watchNamespace: also let the operator read GatewayClasses; it needs them for mirroring alone.")
    ] = True
    aggregate: Annotated[
        bool,
        doc(
            "Let everybody who may view, edit or administrate a namespace do so with its ModelDeployments. Not with watchNamespace."
        ),
    ] = True


class ServiceAccountValues(SettingsType, frozen=True):
    """The operator's identity."""

    annotations: Annotated[dict[str, str], doc("Annotations of the ServiceAccount.")] = {}


class ServiceMonitorValues(SettingsType, frozen=True):
    """Scraping by the Prometheus operator."""

    enabled: Annotated[bool, doc("Make a ServiceMonitor.")] = False
    interval: Annotated[str, Meta(pattern="^[0-9]+(ms|s|m)$"), doc("Time between two scrapes.")] = "30s"
    labels: Annotated[dict[str, str], doc("What your Prometheus selects ServiceMonitors by.")] = {}


class Values(SettingsType, frozen=True):
    """Everything that `helm install` may be told."""

    image: Annotated[ImageValues, doc("The operator's image.")] = ImageValues()
    image_pull_secrets: Annotated[
        tuple[FreeObject, ...], doc("Secrets of the release's namespace that log in to the image's registry.")
    ] = ()
    replicas: Annotated[int, Meta(ge=1, le=5), doc("Pods of the operator: one acts, the others stand by.")] = 2
    watch_namespace: Annotated[
        str,
        Meta(pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", max_length=63),
        doc("Serve this namespace alone, with rights in no other. Default: all namespaces."),
    ] = ""
    settings: Annotated[Settings, doc("The operator's [settings](settings.md). A change rolls the operator.")] = (
        Settings()
    )
    crd: Annotated[CrdValues, doc("The CustomResourceDefinition.")] = CrdValues()
    rbac: Annotated[RbacValues, doc("Who may do what.")] = RbacValues()
    service_account: Annotated[ServiceAccountValues, doc("The operator's identity.")] = ServiceAccountValues()
    resources: Annotated[FreeObject, doc("What the operator's container may use.")] = msgspec.field(
        default_factory=lambda: {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
    )
    env: Annotated[tuple[FreeObject, ...], doc("More environment variables, such as HTTPS_PROXY.")] = ()
    pod_annotations: Annotated[dict[str, str], doc("Annotations of the operator's pods.")] = {}
    pod_labels: Annotated[dict[str, str], doc("Labels of the operator's pods.")] = {}
    node_selector: Annotated[dict[str, str], doc("Labels of the nodes that they may run on.")] = {}
    tolerations: Annotated[tuple[FreeObject, ...], doc("Taints that they tolerate.")] = ()
    affinity: Annotated[FreeObject, doc("Their affinity.")] = {}
    priority_class_name: Annotated[str, doc("Their priority class.")] = ""
    service_monitor: Annotated[ServiceMonitorValues, doc("Scraping by the Prometheus operator.")] = (
        ServiceMonitorValues()
    )
    fullname_override: Annotated[
        str,
        Meta(pattern="^([a-z]([-a-z0-9]*[a-z0-9])?)?$", max_length=52),
        doc("Name of all objects. Default: the release's name, with `sluicegate` in it."),
    ] = ""


def schema() -> dict[str, Any]:
    """values.schema.json: strict, so that a misspelt key is an error before anything is installed."""
    found = _plain(msgspec.json.schema(Values))
    kinds: dict[str, Any] = found["$defs"]
    values, settings = kinds.pop("Values"), kinds["Settings"]
    for key in DECIDED:
        del settings["properties"][key]
    # Helm itself gives every subchart this key.
    values["properties"]["global"] = {"type": "object"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **values, "$defs": kinds}


def schema_file() -> str:
    """The text of values.schema.json."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _plain(node: Any) -> Any:
    """A schema without what is meant for others: our own keys, titles, defaults, and null, which to Helm means absence."""
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
