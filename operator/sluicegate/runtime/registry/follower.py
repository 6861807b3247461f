"""The follower: asks each registry, once an interval, what the followed models' names point to, and wakes who is concerned.

A registry that is down is probed by one request at a time, less and less often, up to once an interval; nothing that serves
depends on it. One model's trouble is not its registry's: the others are asked as ever.
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
"""Seconds between two looks for registries that nobody followed before."""
TOLD_AFTER = 3
"""Failures in a row after which trouble is told: one alone is no news. A failure that may be one model's own is the registry's
when as many different models had it in a row."""
LANES = 4
"""Requests to one registry at a time, so that a slow one is still asked for all its models."""
CATCH_UP = 0.05
"""Seconds between two polls after an outage: what changed meanwhile is not spread over an interval."""


class Observer(Protocol):
    """Who counts polls: see `Metrics`."""

    def on_poll(self, registry: str, outcome: str, up: bool) -> None:
        """Called after each poll with `ok` or the reason of its failure, and whether the registry itself is well."""


@dataclass(slots=True)
class _State:
    """What is known of one registry."""

    views: dict[str, ModelView | ResolutionFailure] = field(default_factory=dict)
    trouble: ResolutionFailure | None = None
    failures: int = 0
    last: str = ""
    """The model that was asked for last: after a failure, the next probe is another model's."""
    doubtful: set[str] = field(default_factory=set)
    """Models whose failure may be the registry's; since the last answer."""
    questions: int = 0
    """Counts up with every question, and with what is learnt without one."""
    known_by: dict[str, int] = field(default_factory=dict)
    """The question that what is known of a model comes from: the answer to an older one, which may come later, is no news."""
    urgent: dict[str, None] = field(default_factory=dict)
    """Models to be asked for at once, the first that was told of first."""
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while there are any."""
    doubts: dict[str, int] = field(default_factory=dict)
    """How often in a row a model had a failure that may be its own."""


class Follower:
    """Knows what is followed by looking at the resources; forgets what nobody follows."""

    def __init__(
        self, resources: Resources, registries: Registries, pool: RegistryPool, wake: Callable[[Key], None]
    ) -> None:
        """`wake` is called with the key of each resource that something has changed for."""
        self._resources = resources
        self._registries = registries
        self._pool = pool
        self._wake = wake
        self._states: dict[RegistryRef, _State] = {}
        self._fixed = FixedVersions(resources, registries, pool, wake)
        self.observer: Observer | None = None

    def seen(self, registry: RegistryRef, model: str) -> ModelView | ResolutionFailure | None:
        """What the last poll showed; None before the first one."""
        state = self._states.get(registry)
        return (state.trouble or state.views.get(model)) if state is not None else None

    def learned(self, registry: RegistryRef, ref: Followed, version: str) -> None:
        """Takes over what the registry has said elsewhere, which is newer than the last poll and than one under way."""
        state = self._states.get(registry)
        if state is None:
            return
        state.questions += 1
        state.known_by[ref.name] = state.questions
        view = state.views.get(ref.name)
        if isinstance(view, ModelView):
            state.views[ref.name] = view.pointing(ref, version)

    def look(self, registry: RegistryRef, model: str) -> bool:
        """Has a model asked for at once, whenever its turn is; False where nobody follows it.

        Many calls while a question waits are one question; one that comes while the answer is under way is one more, because the
        answer may be older.
        """
        state = self._states.get(registry)
        if state is None or model not in self._index().get(registry, {}):
            return False
        state.urgent[model] = None
        state.hurry.set()
        return True

    async def run(self, interval: float) -> None:
        """Polls until cancelled, each model once every `interval` seconds."""
        async with asyncio.TaskGroup() as group:  # no child raises: see `keep`
            group.create_task(self._fixed.run(interval), name="fixed versions")
            while True:
                with contained("looking for registries to follow"):
                    for registry in self._index():
                        if registry not in self._states:
                            self._states[registry] = _State()
                            group.create_task(self._keep(registry, interval), name=f"follow {registry.name}")
                await asyncio.sleep(LOOK)

    async def _keep(self, registry: RegistryRef, interval: float) -> None:
        """Follow one registry for as long as a resource names it, whatever it does."""
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
            Why it ended early; a ResolutionError where the registry itself is in trouble.
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
        """Polls one model after another, `pause` seconds apart."""
        state, loop = self._states[registry], asyncio.get_running_loop()
        for model, followers in turns:
            due = loop.time() + _jittered(pause)
            state.last = model
            await self._ask(registry, endpoint, model, followers)
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _hurry(self, registry: RegistryRef) -> None:
        """Polls what `look` was called for. Trouble of the registry is left to the sweep, which has the count of it."""
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
        """Polls one model, and wakes those for which it has changed.

        Raises:
            ResolutionError: the registry itself is in trouble.
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
        """Whether a model's failure is its registry's."""
        if concerns_registry(failure):
            return True
        if not may_concern_registry(failure):
            return False
        if state.doubts.get(model, 0) < TOLD_AFTER:  # else it is known to be the model's own
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
        """The version that status has for `ref`."""
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
        """Who follows what, as of now."""
        index: Index = {}
        for registry, key, ref in self._registries.named(self._resources.items(), watched):
            index.setdefault(registry, {}).setdefault(ref.name, []).append((key, ref))
        return index

    def missing(self, registry: RegistryRef, ref: RegistryVersion) -> bool | None:
        """Whether a fixed version was gone when it was last looked for; None before that."""
        return self._fixed.missing(registry, ref)


def _meaning(view: ModelView | ResolutionFailure, ref: Followed) -> str | None:
    return view.pointed(ref) if isinstance(view, ModelView) else None


def _after(last: str, models: Iterable[str]) -> list[str]:
    """The models in an order that is always the same, beginning behind `last`: an interval lies between two looks at each."""
    order = sorted(models)
    start = bisect.bisect_right(order, last)
    return order[start:] + order[:start]


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.9, 1.1)
