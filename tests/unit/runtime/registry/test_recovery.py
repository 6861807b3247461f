"""Resources without a model, after an outage of their registry."""

import asyncio
import contextlib
from typing import cast

from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import Key
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.registry.recovery import PROBE_INTERVAL, Recovery
from sluicegate.runtime.registry.registries import Registries
from sluicegate.runtime.registry.resolver import Resolver

from tests.support import virtual_clock
from tests.unit.runtime.registry.test_resolver import DOWN, SETTINGS, FakeRegistry, FakeViews, resource


class Outage:
    """A registry that is down, and the resources that are woken."""

    def __init__(self) -> None:
        self.registry, self.woken = FakeRegistry(), list[Key]()
        self.registry.failure = DOWN
        self.recovery = Recovery(self.woken.append)
        registries = Registries(cast(KubeClient, None), SETTINGS)
        pool = cast(RegistryPool, self.registry)
        self.resolver = Resolver(registries, SETTINGS, pool, FakeViews(), self.recovery)

    async def resolve(self, name: str) -> None:
        with contextlib.suppress(ResolutionError):
            await self.resolver.resolve(resource(name, version=None, uri="models:/churn/3"))


def test_one_resource_is_retried_every_two_seconds() -> None:
    async def main() -> None:
        outage = Outage()
        for name in ("a", "b", "c"):
            await outage.resolve(name)
        running = asyncio.create_task(outage.recovery.run())
        await asyncio.sleep(PROBE_INTERVAL + 0.1)
        assert outage.woken == [("ns", "a")]
        await outage.resolve("a")
        await asyncio.sleep(PROBE_INTERVAL)
        assert outage.woken == [("ns", "a"), ("ns", "b")], "one that failed again waits behind the others"
        running.cancel()

    virtual_clock.run(main())


def test_first_response_wakes_all_who_wait() -> None:
    async def main() -> None:
        outage = Outage()
        for name in ("a", "b", "c"):
            await outage.resolve(name)
        outage.registry.failure = None
        await outage.resolve("a")
        assert outage.woken == [("ns", "a"), ("ns", "b"), ("ns", "c")]

    virtual_clock.run(main())


def test_missing_version_does_not_wait_for_the_registry() -> None:
    async def main() -> None:
        outage = Outage()
        outage.registry.failure = ResolutionFailure(Reason.VERSION_NOT_FOUND, "no version 3")
        await outage.resolve("a")
        running = asyncio.create_task(outage.recovery.run())
        await asyncio.sleep(3 * PROBE_INTERVAL)
        assert outage.woken == []
        running.cancel()

    virtual_clock.run(main())
