"""The follower, which polls registries for the models that resources follow.

Once an interval, it asks for the versions that the aliases and stages of each model point to. It enqueues the resources
for which a version has changed.

The follower probes a registry that is down with one request at a time, and with backoff up to the interval. Serving
pods do not depend on the registry. A failure of one model is not a failure of its registry, and does not affect the
polls of other models.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.adapters.unexpected import log_unexpected
from sluicegate.core.models.following import (
    Followed,
    ModelView,
    concerns_registry,
    followed,
    may_concern_registry,
    watched,
)
from sluicegate.core.models.reference import RegistryVersion
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure, internal_error
from sluicegate.runtime.registry.resolver import Registries, RegistryRef
from sluicegate.runtime.registry.version_watch import FixedVersions
from sluicegate.runtime.resources import Resources
from sluicegate.runtime.supervise import contained, first_failure, keep, resolved

logger = logging.getLogger(__name__)
Key = tuple[str, str]
Followers = list[tuple[Key, Followed]]
Index = dict[RegistryRef, dict[str, Followers]]

LOOK = 2.0
"""Seconds between two searches for registries that no resource followed before."""
TOLD_AFTER = 3
"""Consecutive failures after which a failure is reported. A single failure is not reported.

A failure that may concern one model only counts as the registry's after as many different models have failed in a row.
"""
LANES = 4
"""Concurrent requests to one registry, so that the polls of a slow registry still cover all its models."""
CATCH_UP = 0.05
"""Seconds between two polls after an outage. Changes during the outage take effect sooner than in an interval."""


class Observer(Protocol):
    """Counts polls, see `Metrics`."""

    def on_poll(self, registry: str, outcome: str, up: bool) -> None:
        """Count one poll.

        Args:
            registry: The registry's name.
            outcome: `ok`, or the reason of the failure.
            up: Whether the registry itself works.
        """


@dataclass(slots=True)
class _State:
    """The state of following one registry."""

    views: dict[str, ModelView | ResolutionFailure] = field(default_factory=dict)
    trouble: ResolutionFailure | None = None
    failures: int = 0
    last: str = ""
    """The model that was polled last. After a failure, the next probe asks for another model."""
    doubtful: set[str] = field(default_factory=set)
    """Models whose failure may be the registry's, since its last valid response."""
    questions: int = 0
    """Sequence number of the last request. `learned` takes a number too."""
    known_by: dict[str, int] = field(default_factory=dict)
    """By model, the sequence number of the request that its view comes from.

    A response to an older request may arrive later, and is then ignored.
    """
    urgent: dict[str, None] = field(default_factory=dict)
    """Models to poll at once, in the order of the calls of `look`."""
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while there are models to poll at once."""
    doubts: dict[str, int] = field(default_factory=dict)
    """By model, the number of consecutive failures that may concern that model only."""


class Follower:
    """Polls the models that resources follow.

    It forgets a model that no resource follows any more.
    """

    def __init__(
        self, resources: Resources, registries: Registries, pool: RegistryPool, wake: Callable[[Key], None]
    ) -> None:
        """Create a follower, which polls nothing before `run`.

        Args:
            resources: All ModelDeployments.
            registries: Finds the registry of a resource.
            pool: The clients of registries. The caller closes it.
            wake: Called with the key of each resource to reconcile.
        """
        self._resources = resources
        self._registries = registries
        self._pool = pool
        self._wake = wake
        self._states: dict[RegistryRef, _State] = {}
        self._fixed = FixedVersions(resources, registries, pool, wake)
        self.observer: Observer | None = None

    def seen(self, registry: RegistryRef, model: str) -> ModelView | ResolutionFailure | None:
        """Return the result of a model's last poll, or None before the first one.

        It is the registry's failure while the registry itself is down.
        """
        state = self._states.get(registry)
        return (state.trouble or state.views.get(model)) if state is not None else None

    def learned(self, registry: RegistryRef, ref: Followed, version: str) -> None:
        """Store a version that the registry has returned outside of a poll.

        It is newer than the last poll and than a poll in progress.
        """
        state = self._states.get(registry)
        if state is None:
            return
        state.questions += 1
        state.known_by[ref.name] = state.questions
        view = state.views.get(ref.name)
        if isinstance(view, ModelView):
            state.views[ref.name] = view.pointing(ref, version)

    def look(self, registry: RegistryRef, model: str) -> bool:
        """Poll a model as soon as possible, out of turn.

        Several calls while a request waits lead to one request. A call during a request leads to another one, because
        the response may be older than the call.

        Returns:
            False if no resource follows the model.
        """
        state = self._states.get(registry)
        if state is None or model not in self._index().get(registry, {}):
            return False
        state.urgent[model] = None
        state.hurry.set()
        return True

    async def run(self, interval: float) -> None:
        """Poll each model once every `interval` seconds, until cancelled."""
        async with asyncio.TaskGroup() as group:  # No child raises, see `keep`.
            group.create_task(self._fixed.run(interval), name="fixed versions")
            while True:
                with contained("looking for registries to follow"):
                    for registry in self._index():
                        if registry not in self._states:
                            self._states[registry] = _State()
                            group.create_task(self._keep(registry, interval), name=f"follow {registry.name}")
                await asyncio.sleep(LOOK)

    async def _keep(self, registry: RegistryRef, interval: float) -> None:
        """Follow one registry as long as a resource refers to it, even after errors."""
        try:
            await keep(f"following registry {registry.name}", partial(self._follow, registry, interval))
        finally:
            del self._states[registry]

    async def _follow(self, registry: RegistryRef, interval: float) -> None:
        state = self._states[registry]
        hurry = keep(f"asking registry {registry.name} at once", partial(self._hurry, registry))
        hurrying = asyncio.create_task(hurry, name=f"hurry {registry.name}")
        try:
            while models := self._index().get(registry):
                for known in (state.views, state.doubts, state.known_by):
                    for gone in known.keys() - models.keys():
                        del known[gone]
                error = await self._sweep(registry, models, interval)
                if error is None:
                    continue
                if isinstance(error, ResolutionError):
                    failure = error.failure
                else:
                    log_unexpected(logger, f"following registry {registry.name}", error)
                    failure = internal_error(f"Following registry {registry.name}", error)
                self._note_failure(registry, failure)
                await asyncio.sleep(_jittered(min(interval, 2.0 ** min(state.failures, 16))))
        finally:
            hurrying.cancel()

    async def _sweep(self, registry: RegistryRef, models: Mapping[str, Followers], interval: float) -> Exception | None:
        """Poll every model once, spread over the interval.

        Returns:
            The error that ended the sweep early, or None. It is a ResolutionError if the registry itself failed.
        """
        state = self._states[registry]
        lanes = 1 if state.failures else min(LANES, len(models))
        pause = CATCH_UP if state.trouble is not None else interval * lanes / len(models)
        turns = iter(_after(state.last, models))
        try:
            endpoint = await self._registries.endpoint(registry)
        except ResolutionError as error:
            return error
        return await first_failure(
            *(self._lane(registry, endpoint, ((each, models[each]) for each in turns), pause) for _ in range(lanes))
        )

    async def _lane(
        self, registry: RegistryRef, endpoint: RegistryEndpoint, turns: Iterator[tuple[str, Followers]], pause: float
    ) -> None:
        """Poll one model after another, `pause` seconds apart."""
        state, loop = self._states[registry], asyncio.get_running_loop()
        for model, followers in turns:
            due = loop.time() + _jittered(pause)
            state.last = model
            await self._ask(registry, endpoint, model, followers)
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _hurry(self, registry: RegistryRef) -> None:
        """Poll the models that `look` was called for.

        The sweep handles failures of the registry, because it counts them.
        """
        state = self._states[registry]
        while await state.hurry.wait():
            model = next(iter(state.urgent))
            del state.urgent[model]
            if not state.urgent:
                state.hurry.clear()
            followers = self._index().get(registry, {}).get(model, [])
            with contextlib.suppress(ResolutionError):
                await self._ask(registry, await self._registries.endpoint(registry), model, followers)

    async def _ask(self, registry: RegistryRef, endpoint: RegistryEndpoint, model: str, followers: Followers) -> None:
        """Poll one model, and enqueue the resources for which it has changed.

        Raises:
            ResolutionError: The registry itself failed.
        """
        state = self._states[registry]
        state.questions += 1
        question = state.questions
        try:
            view: ModelView | ResolutionFailure = await resolved(f"Asking {endpoint}", self._pool.view(endpoint, model))
        except ResolutionError as error:
            wide = self._is_wide(state, model, error.failure)
            self._count(registry, error.failure.reason.value, up=not wide)
            if wide:
                raise
            view = error.failure
        else:
            self._count(registry, "ok", up=True)
        if question < state.known_by.get(model, 0):
            return
        state.known_by[model] = question
        if isinstance(view, ModelView) or not may_concern_registry(view):
            self._end_trouble(registry)
            state.doubts.pop(model, None)
            self._see(state, model, view, followers)
        elif state.doubts[model] >= TOLD_AFTER:
            self._see(state, model, view, followers)

    def _is_wide(self, state: _State, model: str, failure: ResolutionFailure) -> bool:
        """Tell whether a model's failure is a failure of its registry."""
        if concerns_registry(failure):
            return True
        if not may_concern_registry(failure):
            return False
        if state.doubts.get(model, 0) < TOLD_AFTER:  # From then on, the failure concerns this model only.
            state.doubtful.add(model)
        if len(state.doubtful) >= min(TOLD_AFTER, len(state.views.keys() | state.doubts.keys() | {model})):
            return True
        state.doubts[model] = state.doubts.get(model, 0) + 1
        return False

    def _see(self, state: _State, model: str, view: ModelView | ResolutionFailure, followers: Followers) -> None:
        before = state.views.get(model)
        state.views[model] = view
        for key, ref in followers:
            now = _meaning(view, ref)
            was = _meaning(before, ref) if before is not None else self._pinned(key, ref)
            if now != was:
                logger.info("%s/%s: %s is now %s", *key, ref, now or "nothing")
                self._wake(key)

    def _pinned(self, key: Key, ref: Followed) -> str | None:
        """Return the version that status has for `ref`."""
        resource = self._resources.get(key)
        for model in (resource.status.model, resource.status.canary_model) if resource is not None else ():
            if model is not None and followed(model.uri) == ref:
                return model.version
        return None

    def _note_failure(self, registry: RegistryRef, failure: ResolutionFailure) -> None:
        state = self._states[registry]
        state.failures += 1
        if state.failures >= TOLD_AFTER and (state.trouble is None or state.trouble.reason != failure.reason):
            logger.warning("following is on hold: %s", failure.message)
            state.trouble = failure
            self._wake_all(registry)

    def _end_trouble(self, registry: RegistryRef) -> None:
        state = self._states[registry]
        state.failures = 0
        state.doubtful.clear()
        if state.trouble is not None:
            logger.info("registry %s answers again", registry.name)
            state.trouble = None
            self._wake_all(registry)

    def _wake_all(self, registry: RegistryRef) -> None:
        for followers in self._index().get(registry, {}).values():
            for key, _ in followers:
                self._wake(key)

    def _count(self, registry: RegistryRef, outcome: str, up: bool) -> None:
        if self.observer is not None:
            self.observer.on_poll(registry.name, outcome, up)

    def _index(self) -> Index:
        """Return the current followers by registry and model."""
        index: Index = {}
        for registry, key, ref in self._registries.named(self._resources.items(), watched):
            index.setdefault(registry, {}).setdefault(ref.name, []).append((key, ref))
        return index

    def missing(self, registry: RegistryRef, ref: RegistryVersion) -> bool | None:
        """Tell whether a fixed version was missing at its last check.

        Returns:
            None before the first check.
        """
        return self._fixed.missing(registry, ref)


def _meaning(view: ModelView | ResolutionFailure, ref: Followed) -> str | None:
    return view.pointed(ref) if isinstance(view, ModelView) else None


def _after(last: str, models: Iterable[str]) -> list[str]:
    """Return the models in alphabetical order, starting after `last`.

    The order is always the same, so that the polls of a model are an interval apart.
    """
    order = sorted(models)
    start = bisect.bisect_right(order, last)
    return order[start:] + order[:start]


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.9, 1.1)
