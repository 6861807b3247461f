"""The follower: asks each registry, once an interval, what the followed models' names point to, and wakes who is concerned.

A registry that is down is probed by one request at a time, less and less often, up to once an interval; nothing that serves
depends on it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sluicegate.adapters.pool import RegistryPool
from sluicegate.api.resource import ModelDeployment
from sluicegate.core.canary import canary_view
from sluicegate.core.follow import Followed, ModelView, concerns_registry, followed
from sluicegate.core.resolution import ResolutionError, ResolutionFailure
from sluicegate.runtime.registries import Registries, RegistryRef
from sluicegate.runtime.resources import Resources

logger = logging.getLogger(__name__)
Key = tuple[str, str]
Index = dict[RegistryRef, dict[str, list[tuple[Key, Followed]]]]

LOOK = 2.0
"""Seconds between two looks for registries that nobody followed before."""
TOLD_AFTER = 3
"""Failures in a row, some seconds apart, after which a registry's trouble is told: one alone is no news."""
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
        self.observer: Observer | None = None

    def seen(self, registry: RegistryRef, model: str) -> ModelView | ResolutionFailure | None:
        """What the last poll showed; None before the first one."""
        state = self._states.get(registry)
        return (state.trouble or state.views.get(model)) if state is not None else None

    async def run(self, interval: float) -> None:
        """Polls until cancelled, each model once every `interval` seconds."""
        async with asyncio.TaskGroup() as group:
            while True:
                for registry in self._index():
                    if registry not in self._states:
                        self._states[registry] = _State()
                        group.create_task(self._follow(registry, interval), name=f"follow {registry.name}")
                await asyncio.sleep(LOOK)

    async def _follow(self, registry: RegistryRef, interval: float) -> None:
        state = self._states[registry]
        try:
            while models := self._index().get(registry):
                for gone in state.views.keys() - models.keys():
                    del state.views[gone]
                try:
                    await self._sweep(registry, models, interval)
                except ResolutionError as error:
                    self._note_failure(registry, error.failure)
                    await asyncio.sleep(_jittered(min(interval, 2.0**state.failures)))
        finally:
            del self._states[registry]

    async def _sweep(
        self, registry: RegistryRef, models: Mapping[str, list[tuple[Key, Followed]]], interval: float
    ) -> None:
        """Polls every model once, spread over the interval.

        Raises:
            ResolutionError: the registry itself is in trouble.
        """
        state, loop = self._states[registry], asyncio.get_running_loop()
        pause = CATCH_UP if state.failures else interval / len(models)
        endpoint = await self._registries.endpoint(registry)
        for model in sorted(
            models
        ):  # always the same order, so that it is an interval from one look at a model to the next
            due = loop.time() + _jittered(pause)
            view: ModelView | ResolutionFailure
            try:
                view = await self._pool.view(endpoint, model)
            except ResolutionError as error:
                self._count(registry, error.failure.reason.value, up=not concerns_registry(error.failure))
                if concerns_registry(error.failure):
                    raise
                view = error.failure
            else:
                self._count(registry, "ok", up=True)
            self._end_trouble(registry)
            self._see(state, model, view, models[model])
            await asyncio.sleep(max(0.0, due - loop.time()))
        state.failures = 0

    def _see(
        self, state: _State, model: str, view: ModelView | ResolutionFailure, followers: list[tuple[Key, Followed]]
    ) -> None:
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
        for resource in self._resources.items():
            for view in (resource, canary_view(resource)):
                if view is not None:
                    self._enter(index, resource.key, view)
        return index

    def _enter(self, index: Index, key: Key, view: ModelDeployment) -> None:
        ref = followed(view.spec.model.uri)
        if ref is None:
            return
        try:
            registry = self._registries.ref_of(view)
        except ResolutionError:
            return  # the reconcile says so
        index.setdefault(registry, {}).setdefault(ref.name, []).append((key, ref))


def _meaning(view: ModelView | ResolutionFailure, ref: Followed) -> str | None:
    return view.pointed(ref) if isinstance(view, ModelView) else None


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.9, 1.1)
