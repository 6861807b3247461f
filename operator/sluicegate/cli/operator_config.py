"""The settings of the operator that runs in the cluster, as far as somebody else may read them."""

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
    """The settings of the operator that serves `namespace`: from a file, else from its ConfigMap.

    Returns:
        The settings, and None; or None, and a sentence why they are not known.

    Raises:
        InvalidSettings: the file, or the ConfigMap, is wrong.
    """
    if config is not None:
        return build([(config, read(config))]), None
    found = []
    for origin, text in await _texts(client):
        try:
            values = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise InvalidSettings(f"ConfigMap {origin}: {error}") from error
        found.append(build([(f"ConfigMap {origin}", values)]))
    serving = [each for each in found if each.namespace in (None, namespace)]
    if len(serving) == 1:
        return serving[0], None
    why = "none is there that you may read" if not found else f"{len(serving)} of them serve namespace {namespace}"
    return None, f"the operator's settings are not known (of the ConfigMaps {SELECTOR} {why}): give them with --config"


async def _texts(client: KubeClient) -> list[tuple[str, str]]:
    """(NAMESPACE/NAME, settings) of each operator that can be seen."""
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
    """Settings that make what is there come out as it is, where the operator's own are not known.

    Args:
        resource: The live object: its status names the registry that it was resolved by.
        route: Its HTTPRoute: it names the gateways.
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
