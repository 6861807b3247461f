"""A registry that raises beside one that works, and resources of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.api.resource import Key
from sluicegate.config.settings import build
from sluicegate.core.models.following import ModelView, Registration
from sluicegate.core.models.reference import RegistryVersion
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.registry.registries import Registries
from sluicegate.runtime.resources import Resources

INTERVAL = 30.0


class Pool:
    """A registry that raises, and another that works."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls: Counter[str] = Counter()
        self.deleted = False

    def _answer(self, endpoint: RegistryEndpoint, what: str) -> None:
        self.calls[f"{what} {'bad' if 'bad' in endpoint.tracking_uri else 'good'}"] += 1
        if "bad" in endpoint.tracking_uri:
            raise self.error

    async def view(self, endpoint: RegistryEndpoint, model: str) -> ModelView:
        self._answer(endpoint, "view")
        return ModelView({"a": "1"})

    async def registration(self, endpoint: RegistryEndpoint, ref: RegistryVersion) -> Registration | None:
        self._answer(endpoint, "has")
        return None if self.deleted else Registration()

    async def resolve(self, endpoint: RegistryEndpoint, ref: object) -> ResolvedModel:
        self._answer(endpoint, "resolve")
        return ResolvedModel("models:/m@a", "s3://b/m", "m", "1")

    @asynccontextmanager
    async def lease(self, endpoint: RegistryEndpoint) -> AsyncIterator[Pool.Client]:
        yield Pool.Client(self, endpoint)

    class Client:
        """The client of one of the registries."""

        def __init__(self, pool: Pool, endpoint: RegistryEndpoint) -> None:
            self.pool, self.endpoint = pool, endpoint

        async def tagged(self, key: str) -> dict[tuple[str, str], str]:
            self.pool._answer(self.endpoint, "tagged")
            return {}

        async def tag(self, *about: object) -> None:
            self.pool._answer(self.endpoint, "tag")

        async def ask(self, *about: object, **content: object) -> Any:
            self.pool._answer(self.endpoint, "ask")
            raise AssertionError("it was counted, which is enough")


BOTH = {
    "registries": {
        name: {
            "trackingUri": f"http://{name}",
            "writeBack": True,
            "webhookSecret": "s",
            "registerWebhook": {"url": "http://me/webhooks/x"},
        }
        for name in ("bad", "good")
    }
}
SETTINGS = build([("test", BOTH)])


class Keys:
    """A cluster in which every Secret exists."""

    async def get(self, kind: object, namespace: str, name: str) -> dict[str, Any]:
        return {"data": {"secret": "c2VjcmV0"}}


def raws(
    *registries: str, uri: str = "models:/m@a", model: str = "m", name: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a resource for each registry, which serves version 1.

    The resource has the name of its registry.
    """
    for registry in registries:
        called = name or registry
        serving = {"name": "n-r", "revision": "r", "role": "Stable", "weight": 100, "replicas": 1, "readyReplicas": 1}
        yield {
            "metadata": {"name": called, "namespace": "ns", "uid": called, "resourceVersion": "1", "generation": 1},
            "spec": {"model": {"uri": uri, "registry": registry}},
            "status": {
                "model": {"uri": uri, "registry": registry, "source": "s3://a", "version": "1"},
                "revisions": [{**serving, "model": f"{model}/1", "version": "1"}],
            },
        }


def resources_of(*registries: str, uri: str = "models:/m@a") -> Resources:
    resources = Resources(lambda _: None)
    for raw in raws(*registries, uri=uri):
        resources.streamed(raw, deleted=False)
    return resources


def registries() -> Registries:
    return Registries(cast(KubeClient, Keys()), SETTINGS)


def context_of(resources: Resources, pool: Pool, wake: Callable[[Key], None] = lambda _: None) -> PollContext:
    return PollContext(resources, registries(), cast(RegistryPool, pool), wake)
