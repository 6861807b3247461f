"""The operator's webhook subscription in a real MLflow registry.

The operator creates it once, keeps it up to date and rotates its secret. It leaves other webhooks alone.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
from sluicegate.adapters.mlflow import webhooks
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.adapters.mlflow.registry import MlflowRegistry
from sluicegate.config.settings import Settings, build
from sluicegate.core.models.webhook_subscription import Hook, is_right
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.registry.registries import Registries, RegistryRef
from sluicegate.runtime.registry.webhook_server import Webhooks, WebhookServer
from sluicegate.runtime.registry.webhook_subscription import WebhookSubscriptions
from sluicegate.runtime.resources import Resources

from tests.registry.conftest import free_port
from tests.registry.test_resolve import send

NAME = "sluicegate.eu-1"
FOREIGN = """
import sys
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookEvent
client = MlflowClient(tracking_uri=sys.argv[1])
print(client.create_webhook(name="theirs", url="http://127.0.0.1:9/x", \
events=[WebhookEvent.from_str("registered_model.created")]).webhook_id)
"""


class Known(Registries):
    """Registries whose webhook secrets are held here instead of in a cluster."""

    def __init__(self, settings: Settings, *secrets: bytes) -> None:
        super().__init__(cast(KubeClient, None), settings)
        self.secrets = secrets

    async def webhook_secrets(self, name: str) -> tuple[bytes, ...]:
        return self.secrets


class Here:
    """An operator's webhook server and subscription, and the reports of both."""

    def __init__(self, server: str, port: int, url: str | None = None) -> None:
        self.url = url or f"http://127.0.0.1:{port}/webhooks/default"
        registry = {"trackingUri": server, "webhookSecret": "hooks", "registerWebhook": {"url": self.url}}
        self.settings = build([("test", {"registries": {"default": registry}, "clusterName": "eu-1"})])
        self.registries = Known(self.settings, b"first")
        self.pool = RegistryPool()
        self.outcomes: Counter[str] = Counter()
        self.reports: list[bool] = []
        self.work = self.restarted()
        door = Webhooks(self, lambda *_: False, lambda: True, lambda _, outcome: self.outcomes.update([outcome]))
        self.door = WebhookServer(door, port, "127.0.0.1")

    def restarted(self) -> WebhookSubscriptions:
        context = PollContext(Resources(lambda _: None), self.registries, self.pool, print)
        return WebhookSubscriptions(context, self.settings, lambda _, there: self.reports.append(there))

    def with_webhooks(self) -> Mapping[str, RegistryRef]:
        return {"default": self.registries.configured("default")}

    async def webhook_secrets(self, name: str) -> tuple[bytes, ...]:
        return await self.registries.webhook_secrets(name)


@pytest.fixture
async def registry(endpoint: RegistryEndpoint) -> AsyncIterator[MlflowRegistry]:
    """Yield the real registry without the webhooks of earlier tests."""
    mlflow_registry = MlflowRegistry(endpoint)
    for hook in await webhooks.listed(mlflow_registry):
        await asyncio.to_thread(send, "DELETE", f"{endpoint.tracking_uri}/api/2.0/mlflow/webhooks/{hook.id}")
    yield mlflow_registry
    await mlflow_registry.aclose()


async def ours(registry: MlflowRegistry) -> list[Hook]:
    return [each for each in await webhooks.listed(registry) if each.name == NAME]


async def test_it_is_made_once_signed_with_the_secret_and_put_back_when_somebody_changes_it(
    server: str, registry: MlflowRegistry, mlflow_python: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sluicegate")
    made = await asyncio.to_thread(
        subprocess.run, [mlflow_python, "-c", FOREIGN, server], capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr[-2000:]
    (theirs,) = await webhooks.listed(registry)
    here = Here(server, free_port())
    async with here.door:
        await here.work.round("default")
        (hook,) = await ours(registry)
        assert is_right(hook, NAME, here.url)
        assert here.outcomes == {"not_followed": 1}, "MLflow's trial, whose signature was believed"
        for _ in range(3):
            await here.work.round("default")
        assert here.outcomes.total() == 1, "nothing was written, so nothing tried"

        await asyncio.to_thread(
            send,
            "PATCH",
            f"{server}/api/2.0/mlflow/webhooks/{hook.id}",
            json={"url": "http://127.0.0.1:9/elsewhere", "status": "DISABLED", "secret": "another"},
        )
        await here.work.round("default")
        assert await ours(registry) == [hook]
        assert here.outcomes == {"not_followed": 2}
        assert "its own clusterName" in caplog.text

        await here.restarted().round("default")
        assert await ours(registry) == [hook]
        assert theirs in await webhooks.listed(registry)
        assert len(await webhooks.listed(registry)) == 2
    await here.pool.aclose()


async def test_a_rotated_secret_is_written_again(
    server: str, registry: MlflowRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.runtime.registry.webhook_server.RECHECK_SECONDS", 0.0)
    here = Here(server, free_port())
    async with here.door:
        await here.work.round("default")
        (hook,) = await ours(registry)
        here.registries.secrets = (b"second", b"first")
        await here.work.round("default")
        here.registries.secrets = (b"second",)
        await here.work.round("default")
        assert await ours(registry) == [hook]
        result = await webhooks.tried(registry, hook)
    assert result.response_status == 200
    assert here.outcomes["bad_signature"] == 0
    await here.pool.aclose()


async def test_one_made_by_hand_for_the_same_door_is_taken_over(server: str, registry: MlflowRegistry) -> None:
    here = Here(server, free_port())
    made = await webhooks.write(registry, None, "by-hand", here.url, "forgotten")
    async with here.door:
        await here.work.round("default")
    (hook,) = await webhooks.listed(registry)
    assert (hook.id, hook.name) == (made.id, NAME)
    assert here.outcomes == {"not_followed": 1}
    await here.pool.aclose()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "http://127.0.0.1:1/webhooks/default",
            "registry default: the test delivery of the webhook subscription did not arrive",
        ),
        ("http:///nowhere", "cannot maintain the webhook subscription"),
    ],
)
async def test_what_a_registry_refuses_or_cannot_reach_is_said_and_holds_up_nothing(
    server: str, registry: MlflowRegistry, caplog: pytest.LogCaptureFixture, url: str, words: str
) -> None:
    caplog.set_level(logging.INFO, "sluicegate")
    here = Here(server, free_port(), url)
    running = asyncio.create_task(here.work.run())
    async with asyncio.timeout(60):
        while not here.reports or words not in caplog.text:  # noqa: ASYNC110  no event to wait for
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await here.pool.aclose()
    assert here.reports == ["did not arrive" in words]
    assert "first" not in caplog.text, "the secret"


async def test_a_registry_that_is_down_is_asked_again_and_then_has_it(
    server: str, registry: MlflowRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    away = Here(f"http://127.0.0.1:{free_port()}", port)
    monkeypatch.setattr("sluicegate.runtime.registry.webhook_subscription.INTERVAL", 0.2)
    running = asyncio.create_task(away.work.run())
    async with asyncio.timeout(60):
        while len(away.reports) < 3:  # noqa: ASYNC110  no event to wait for
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert set(away.reports) == {False}
    assert caplog.text.count("cannot maintain the webhook subscription") == 1, "logged once"
    here = Here(server, port)
    async with here.door:
        await here.work.round("default")
    assert len(await ours(registry)) == 1
    await here.pool.aclose()
    await away.pool.aclose()


def test_without_a_secret_the_setting_is_refused() -> None:
    registry: dict[str, Any] = {
        "trackingUri": "http://mlflow",
        "registerWebhook": {"url": "https://hooks/webhooks/default"},
    }
    with pytest.raises(ValueError, match="registerWebhook requires webhookSecret"):
        build([("file", {"registries": {"default": registry}})])
