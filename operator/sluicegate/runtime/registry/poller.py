"""The schedule of the polls of one registry.

Every model is polled once an interval. A registry that is down is probed with one request at a time, and with backoff
up to the interval.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol, TypeAlias

from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.api.resource import Key
from sluicegate.core.models.following import Followed
from sluicegate.core.models.resolution import ResolutionError
from sluicegate.runtime.registry.registry_health import RegistryHealth
from sluicegate.runtime.supervise import first_failure, keep

Followers: TypeAlias = list[tuple[Key, Followed]]
"""The resources that follow a model, and what each of them follows."""

WORKERS: Final = 4
"""Concurrent requests to one registry, so that the polls of a slow registry still cover all its models."""
CATCH_UP: Final = 0.05
"""Seconds between two polls after an outage. Changes during the outage take effect sooner than in an interval."""


class Polls(Protocol):
    """The polls that a `Poller` schedules, see `RegistryFollower`."""

    def models(self) -> Mapping[str, Followers]:
        """Return the models that resources follow now."""

    def retain(self, models: Mapping[str, Followers]) -> None:
        """Forget all other models."""

    async def endpoint(self) -> RegistryEndpoint:
        """Return the address and credentials of the registry.

        Raises:
            ResolutionError: The Secret is missing or invalid.
        """

    async def poll(self, endpoint: RegistryEndpoint, model: str, followers: Followers) -> None:
        """Poll one model.

        Raises:
            ResolutionError: The registry itself failed.
        """

    def failed(self, error: Exception) -> None:
        """Note a failure of the registry. It is a ResolutionError unless it is unexpected."""


class Poller:
    """Decides which model to poll when."""

    def __init__(self, name: str, polls: Polls, health: RegistryHealth) -> None:
        """Create a poller, which polls nothing before `run`.

        Args:
            name: The registry's name, for the log.
            polls: The polls to schedule.
            health: Whether the registry works.
        """
        self._name = name
        self._polls = polls
        self._health = health
        self._last = ""
        """The model that was polled last. After a failure, the next probe asks for another model."""
        self._urgent: dict[str, None] = {}
        """Models to poll at once, in the order of the calls of `poll_soon`."""
        self._has_urgent = asyncio.Event()

    def poll_soon(self, model: str) -> None:
        """Poll a model as soon as possible, out of turn.

        Several calls while a request waits lead to one request. A call during a request leads to another one, because
        the response may be older than the call.
        """
        self._urgent[model] = None
        self._has_urgent.set()

    async def run(self, interval: float) -> None:
        """Poll each model once every `interval` seconds, as long as there are any."""
        work = keep(f"urgent polls of registry {self._name}", self._poll_urgent)
        urgent = asyncio.create_task(work, name=f"urgent polls of {self._name}")
        try:
            while models := self._polls.models():
                self._polls.retain(models)
                error = await self._sweep(models, interval)
                if error is not None:
                    self._polls.failed(error)
                    await asyncio.sleep(_jittered(self._health.retry_delay(interval)))
        finally:
            urgent.cancel()

    async def _sweep(self, models: Mapping[str, Followers], interval: float) -> Exception | None:
        """Poll every model once, spread over the interval.

        Returns:
            The error that ended the sweep early, or None. It is a ResolutionError if the registry itself failed.
        """
        workers = 1 if self._health.failures else min(WORKERS, len(models))
        pause = CATCH_UP if self._health.problem is not None else interval * workers / len(models)
        turns = ((model, models[model]) for model in order_after(self._last, models))
        try:
            endpoint = await self._polls.endpoint()
        except ResolutionError as error:
            return error
        return await first_failure(*(self._work(endpoint, turns, pause) for _ in range(workers)))

    async def _work(self, endpoint: RegistryEndpoint, turns: Iterator[tuple[str, Followers]], pause: float) -> None:
        """Poll one model after another, `pause` seconds apart."""
        loop = asyncio.get_running_loop()
        for model, followers in turns:
            due = loop.time() + _jittered(pause)
            self._last = model
            await self._polls.poll(endpoint, model, followers)
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _poll_urgent(self) -> None:
        """Poll the models that `poll_soon` was called for.

        The sweep handles failures of the registry, because it counts them.
        """
        while await self._has_urgent.wait():
            model = next(iter(self._urgent))
            del self._urgent[model]
            if not self._urgent:
                self._has_urgent.clear()
            followers = self._polls.models().get(model, [])
            with contextlib.suppress(ResolutionError):
                await self._polls.poll(await self._polls.endpoint(), model, followers)


def order_after(last: str, models: Iterable[str]) -> list[str]:
    """Return the models in alphabetical order, starting after `last`.

    The order is always the same, so that the polls of a model are an interval apart.
    """
    order = sorted(models)
    start = bisect.bisect_right(order, last)
    return order[start:] + order[:start]


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.9, 1.1)
