"""Tags of served versions in a real MLflow registry."""

from __future__ import annotations

from typing import Any, cast

import pytest
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.adapters.mlflow.registry import MlflowRegistry
from sluicegate.config.settings import build
from sluicegate.core.models.resolution import ResolutionError
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.registry.registries import Registries
from sluicegate.runtime.registry.served_tags import ServedTagWriter
from sluicegate.runtime.resources import Resources

KEY = "sluicegate.dev/served-by.eu-1"


def resource(name: str, version: str, serial: int) -> dict[str, Any]:
    """Return a resource that serves a version of `iris`."""
    entry = {"name": name, "revision": "r", "role": "Stable", "model": f"iris/{version}", "version": version}
    revisions = [{**entry, "weight": 100, "replicas": 1, "readyReplicas": 1}]
    metadata = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": str(serial), "generation": 1}
    return {"metadata": metadata, "spec": {"model": {"uri": "models:/iris@a"}}, "status": {"revisions": revisions}}


async def test_what_is_served_is_tagged_and_what_is_not_any_more_loses_its_tag(
    server: str, endpoint: RegistryEndpoint, seeded: dict[str, Any]
) -> None:
    registry_settings = {"default": {"trackingUri": server, "writeBack": True}}
    settings = build([("test", {"registries": registry_settings, "clusterName": "eu-1"})])
    resources, pool = Resources(lambda _: None), RegistryPool()
    registries = Registries(cast(KubeClient, None), settings)
    work = ServedTagWriter(PollContext(resources, registries, pool, print), settings)
    registry = MlflowRegistry(endpoint)
    try:
        resources.streamed(resource("a", "1", 1), deleted=False)
        resources.streamed(resource("b", "1", 2), deleted=False)
        await work.round("default")
        assert await registry.tagged(KEY) == {("iris", "1"): "shop/a, shop/b"}
        resources.streamed(resource("b", "2", 3), deleted=False)
        await work.round("default")
        assert await registry.tagged(KEY) == {("iris", "1"): "shop/a", ("iris", "2"): "shop/b"}
        resources.remove(("shop", "b"))
        await work.round("default")
        await work.round("default")
        assert await registry.tagged(KEY) == {("iris", "1"): "shop/a"}
        restarted = ServedTagWriter(PollContext(Resources(lambda _: None), registries, pool, print), settings)
        await restarted.round("default")
        assert await registry.tagged(KEY) == {("iris", "1"): "shop/a"}, "just started, not all resources are known"
        await restarted.round("default")
        assert await registry.tagged(KEY) == {}
    finally:
        await registry.aclose()
        await pool.aclose()


async def test_a_version_that_is_gone_is_no_error_and_a_bad_tag_is(
    endpoint: RegistryEndpoint, seeded: dict[str, Any]
) -> None:
    registry = MlflowRegistry(endpoint)
    try:
        await registry.tag("iris", "999", KEY, "x")
        await registry.tag("nothing-of-this-name", "1", KEY, None)
        with pytest.raises(ResolutionError):
            await registry.tag("iris", "1", "a key with \n a line break", "x")
    finally:
        await registry.aclose()
