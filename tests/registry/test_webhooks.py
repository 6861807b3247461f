"""Webhooks of a real MLflow server, registered by the stock client.

The operator learns that an alias moved long before the next poll.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.config.settings import build
from sluicegate.core.models.following import ModelView
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.registry.follower import Follower
from sluicegate.runtime.registry.registries import Registries, RegistryRef
from sluicegate.runtime.registry.webhook_server import Webhooks, WebhookServer
from sluicegate.runtime.resources import Resources

from tests.registry.test_resolve import send

SECRET = b"what both sides know"
HOUR = 3600.0
CREATE = """
import sys
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent
client = MlflowClient(tracking_uri=sys.argv[1])
event = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)
hook = client.create_webhook(name="sluicegate", url=sys.argv[2], events=[event], secret=sys.argv[3])
print(client.test_webhook(hook.webhook_id).success)
"""


class Sources:
    """One registry that may send webhooks."""

    def __init__(self, ref: RegistryRef) -> None:
        self._ref = ref

    def with_webhooks(self) -> Mapping[str, RegistryRef]:
        return {"default": self._ref}

    async def webhook_secrets(self, name: str) -> tuple[bytes, ...]:
        return (SECRET,)


async def test_an_alias_that_moves_is_known_long_before_the_next_poll(
    server: str, seeded: dict[str, Any], mlflow_python: str
) -> None:
    alias = f"{server}/api/2.0/mlflow/registered-models/alias"
    send("POST", alias, json={"name": "iris", "alias": "hooked", "version": "1"}).raise_for_status()
    settings = build([("test", {"registries": {"default": {"trackingUri": server}}})])
    resources, woken, counted = Resources(lambda _: None), asyncio.Event(), Counter[str]()
    pool, registries = RegistryPool(), Registries(cast(KubeClient, None), settings)
    follower = Follower(PollContext(resources, registries, pool, lambda _: woken.set()))
    ref = RegistryRef("default", server, settings.operator_namespace, None)
    model = {"uri": "models:/iris@hooked", "registry": "default", "source": "s3://a", "version": "1"}
    metadata = {"name": "shop", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 1}
    spec = {"model": {"uri": "models:/iris@hooked"}}
    resources.streamed({"metadata": metadata, "spec": spec, "status": {"model": model}}, deleted=False)
    following = asyncio.create_task(follower.run(HOUR))

    async def polled() -> None:
        while not isinstance(follower.last_result(ref, "iris"), ModelView):  # noqa: ASYNC110  a poll sets no event
            await asyncio.sleep(0.1)

    hooks = Webhooks(Sources(ref), follower.poll_soon, lambda: True, lambda _, outcome: counted.update([outcome]))
    try:
        await asyncio.wait_for(polled(), 30)
        async with WebhookServer(hooks, 0, "127.0.0.1") as door:
            url = f"http://127.0.0.1:{door.port}/webhooks/default"
            command = [mlflow_python, "-c", CREATE, server, url, SECRET.decode()]
            made = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
            assert made.stdout.split()[-1:] == ["True"], made.stderr[-2000:]
            assert counted == {"not_followed": 1}, "MLflow's test event is about a model of its own"
            asked = {"name": "iris", "alias": "hooked", "version": "2"}
            await asyncio.to_thread(lambda: send("POST", alias, json=asked).raise_for_status())
            await asyncio.wait_for(woken.wait(), 30)
        view = follower.last_result(ref, "iris")
        assert isinstance(view, ModelView)
        assert view.aliases["hooked"] == "2"
        assert counted["accepted"] == 1
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await pool.aclose()
