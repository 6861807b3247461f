"""The settings of the operator in the cluster, where the user may read them."""

from __future__ import annotations

from typing import Any

import yaml

from sluicegate.api.resource import ModelDeployment
from sluicegate.api.traffic import ParentRef
from sluicegate.cli.settings import read
from sluicegate.config.settings import GatewaySettings, InvalidSettings, RegistrySettings, Settings, build
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden
from sluicegate.kube.kinds import CONFIG_MAP

SELECTOR = "app.kubernetes.io/name=sluicegate"
KEY = "settings.yaml"
NAMESPACE = Settings().operator_namespace


async def settings(client: KubeClient, namespace: str, config: str | None) -> tuple[Settings | None, str | None]:
    """Return the settings of the operator that watches `namespace`.

    They come from the file `config`, or else from the operator's ConfigMap.

    Returns:
        The settings and None, or None and a message that says why the settings are not known.

    Raises:
        InvalidSettings: The file or the ConfigMap is invalid.
    """
    if config is not None:
        return build([(config, read(config))]), None
    configured = []
    for origin, text in await _texts(client):
        try:
            values = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise InvalidSettings(f"ConfigMap {origin}: {error}") from error
        configured.append(build([(f"ConfigMap {origin}", values)]))
    serving = [registry for registry in configured if registry.namespace in (None, namespace)]
    if len(serving) == 1:
        return serving[0], None
    cause = (
        f"{len(serving)} ConfigMaps with the label {SELECTOR} are for namespace {namespace}"
        if configured
        else f"no ConfigMap with the label {SELECTOR} is readable"
    )
    return None, f"the operator's settings are not known: {cause}"


async def _texts(client: KubeClient) -> list[tuple[str, str]]:
    """Return (NAMESPACE/NAME, settings) of each operator ConfigMap that is readable."""
    for where in (None, NAMESPACE):
        try:
            page = await client.list(CONFIG_MAP, where, SELECTOR)
            break
        except Forbidden:
            continue
    else:
        return []
    raws: list[dict[str, Any]] = page.items
    return [
        (f"{raw['metadata']['namespace']}/{raw['metadata']['name']}", raw["data"][KEY])
        for raw in raws
        if KEY in (raw.get("data") or {})
    ]


def assumed(resource: ModelDeployment | None, route: dict[str, Any] | None) -> Settings:
    """Return settings under which the live children render unchanged.

    They stand in for the operator's own settings where those are not known.

    Args:
        resource: The live object. Its status names the registry that resolved the model.
        route: Its HTTPRoute, which names the Gateways and the hostnames.
    """
    model = resource.status.model if resource is not None else None
    registry = (model.registry if model is not None else None) or "default"
    refs = ((route or {}).get("spec") or {}).get("parentRefs") or ()
    parents = tuple(
        ParentRef(
            name=ref["name"], namespace=ref.get("namespace"), section_name=ref.get("sectionName"), port=ref.get("port")
        )
        for ref in refs
    )
    hostnames = tuple(((route or {}).get("spec") or {}).get("hostnames") or ())
    return Settings(
        default_registry=registry,
        registries={registry: RegistrySettings(tracking_uri="http://registry.invalid")},
        gateway=GatewaySettings(parent_refs=parents, hostnames=hostnames),
    )
