"""The follower, which polls registries for the models that resources follow.

Once an interval, it asks for the versions that the aliases and stages of each model point to. It enqueues the resources
for which a version has changed. `Poller` has the schedule, `RegistryHealth` the failures and `ModelViews` the results
of one registry.

Serving pods do not depend on the registry. A failure of one model is not a failure of its registry, and does not affect
the polls of other models.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.unexpected import log_unexpected
from sluicegate.api.resource import Key
from sluicegate.api.status import ModelStatus
from sluicegate.core.models.following import (
    Followed,
    ModelView,
    Registration,
    followed,
    may_concern_registry,
    watched,
)
from sluicegate.core.models.reference import RegistryVersion
from sluicegate.core.models.resolution import ResolutionError, internal_error
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.registry.model_views import ModelViews, PollResult
from sluicegate.runtime.registry.poller import Followers, Poller
from sluicegate.runtime.registry.registries import RegistryRef
from sluicegate.runtime.registry.registry_health import RegistryHealth
from sluicegate.runtime.registry.version_watch import FixedVersions
from sluicegate.runtime.supervise import contained, keep, resolved

logger = logging.getLogger(__name__)
OnPoll: TypeAlias = Callable[[str, str, bool], None]
"""Called after each poll with the registry's name, the outcome, and whether the registry itself works.

The outcome is `ok`, or the reason of the failure.
"""

SEARCH_INTERVAL: Final = 2.0
"""Seconds between two searches for registries that no resource followed before."""


class Follower:
    """Polls the models that resources follow.

    It forgets a model that no resource follows any more.
    """

    def __init__(self, context: PollContext, on_poll: OnPoll = lambda registry, outcome, up: None) -> None:
        """Create a follower, which polls nothing before `run`.

        Args:
            context: The parts that a poll uses.
            on_poll: Counts polls.
        """
        self._context = context
        self._on_poll = on_poll
        self._followers: dict[RegistryRef, RegistryFollower] = {}
        self._fixed = FixedVersions(context)

    def last_result(self, registry: RegistryRef, model: str) -> PollResult | None:
        """Return the result of a model's last poll, or None before the first one.

        It is the registry's failure while the registry itself is down.
        """
        follower = self._followers.get(registry)
        return (follower.health.problem or follower.views.get(model)) if follower is not None else None

    def learn(self, registry: RegistryRef, ref: Followed, version: str) -> None:
        """Store a version that the registry has returned outside of a poll.

        It is newer than the last poll and than a poll in progress.
        """
        if (follower := self._followers.get(registry)) is not None:
            follower.views.learn(ref, version)

    def missing(self, registry: RegistryRef, ref: RegistryVersion) -> bool | None:
        """Tell whether a fixed version was missing at its last check.

        Returns:
            None before the first check.
        """
        return self._fixed.missing(registry, ref)

    def registration(self, registry: RegistryRef, ref: RegistryVersion) -> Registration | None:
        """Return the registration of a fixed version at its last check, or None, see `FixedVersions`."""
        return self._fixed.registration(registry, ref)

    def poll_soon(self, registry: RegistryRef, model: str) -> bool:
        """Poll a model as soon as possible, out of turn, see `Poller.poll_soon`.

        Returns:
            False if no resource follows the model.
        """
        follower = self._followers.get(registry)
        if follower is None or model not in follower.models():
            return False
        follower.poller.poll_soon(model)
        return True

    async def run(self, interval: float) -> None:
        """Poll each model once every `interval` seconds, until cancelled."""
        async with asyncio.TaskGroup() as group:  # No child raises, see `keep`.
            group.create_task(self._fixed.run(interval), name="fixed versions")
            while True:
                with contained("searching for registries to follow"):
                    for registry in self._index().keys() - self._followers.keys():
                        self._followers[registry] = RegistryFollower(
                            registry, self._context, partial(self._models, registry), self._on_poll
                        )
                        group.create_task(self._keep(registry, interval), name=f"follow {registry.name}")
                await asyncio.sleep(SEARCH_INTERVAL)

    async def _keep(self, registry: RegistryRef, interval: float) -> None:
        """Follow one registry as long as a resource refers to it, even after errors."""
        try:
            await keep(f"following registry {registry.name}", partial(self._followers[registry].poller.run, interval))
        finally:
            del self._followers[registry]

    def _models(self, registry: RegistryRef) -> Mapping[str, Followers]:
        return self._index().get(registry, {})

    def _index(self) -> dict[RegistryRef, dict[str, Followers]]:
        """Return the current followers by registry and model."""
        index: dict[RegistryRef, dict[str, Followers]] = {}
        context = self._context
        for registry, key, ref in context.registries.named(context.resources.items(), watched):
            index.setdefault(registry, {}).setdefault(ref.name, []).append((key, ref))
        return index


class RegistryFollower:
    """Polls the models of one registry, and wakes the resources for which a version changed."""

    def __init__(
        self,
        registry: RegistryRef,
        context: PollContext,
        models: Callable[[], Mapping[str, Followers]],
        on_poll: OnPoll,
    ) -> None:
        """Create a follower. Its `poller` must be run.

        Args:
            registry: The registry.
            context: The parts that a poll uses.
            models: Returns the registry's models that resources follow now.
            on_poll: Counts polls.
        """
        self.models = models
        self.health = RegistryHealth()
        self.views = ModelViews()
        self.poller = Poller(registry.name, self, self.health)
        self._registry = registry
        self._context = context
        self._on_poll = on_poll

    def retain(self, models: Mapping[str, Followers]) -> None:
        """Forget all other models."""
        self.views.retain(models.keys())
        self.health.retain(models.keys())

    async def endpoint(self) -> RegistryEndpoint:
        """Return the address and credentials of the registry.

        Raises:
            ResolutionError: The Secret is missing or invalid.
        """
        return await self._context.registries.endpoint(self._registry)

    async def poll(self, endpoint: RegistryEndpoint, model: str, followers: Followers) -> None:
        """Poll one model, and wake the resources for which it has changed.

        Raises:
            ResolutionError: The registry itself failed.
        """
        request = self.views.begin_request()
        result: PollResult
        try:
            result = await resolved(f"A request to {endpoint}", self._context.pool.view(endpoint, model))
        except ResolutionError as error:
            result = error.failure
            is_down = self.health.is_registry_failure(model, result, self.views.models())
            self._on_poll(self._registry.name, result.reason.value, not is_down)
            if is_down:
                raise
        else:
            self._on_poll(self._registry.name, "ok", True)
        if not self.views.is_newest(model, request):
            return
        if isinstance(result, ModelView) or not may_concern_registry(result):
            if self.health.responded(model):
                logger.info("registry %s responds again", self._registry.name)
                self._wake_all()
            self._store(model, result, followers)
        elif self.health.is_reported(model):
            self._store(model, result, followers)

    def failed(self, error: Exception) -> None:
        """Note a failure of the registry, and wake its resources once it is reported."""
        name = self._registry.name
        if isinstance(error, ResolutionError):
            failure = error.failure
        else:
            log_unexpected(logger, f"following registry {name}", error)
            failure = internal_error(f"Following registry {name}", error)
        if self.health.registry_failed(failure):
            logger.warning("registry %s: %d polls failed in a row: %s", name, self.health.failures, failure.message)
            self._wake_all()

    def _store(self, model: str, result: PollResult, followers: Followers) -> None:
        before = self.views.store(model, result)
        for key, ref in followers:
            version, pinned = _version(result, ref), self._pinned(key, ref)
            pinned_version = pinned.version if pinned is not None else None
            if version != (_version(before, ref) if before is not None else pinned_version):
                logger.info("%s/%s: %s resolves to %s", *key, ref, version or "no version")
                self._context.wake(key)
            elif _replaces(result, pinned) and not _replaces(before, pinned):
                logger.info("%s/%s: %s resolves to a version %s that was registered anew", *key, ref, version)
                self._context.wake(key)

    def _pinned(self, key: Key, ref: Followed) -> ModelStatus | None:
        """Return the model that status has for `ref`."""
        resource = self._context.resources.get(key)
        for model in (resource.status.model, resource.status.canary_model) if resource is not None else ():
            if model is not None and followed(model.uri) == ref:
                return model
        return None

    def _wake_all(self) -> None:
        for followers in self.models().values():
            for key, _ in followers:
                self._context.wake(key)


def _version(result: PollResult, ref: Followed) -> str | None:
    return result.pointed(ref) if isinstance(result, ModelView) else None


def _replaces(result: PollResult | None, pinned: ModelStatus | None) -> bool:
    """Tell whether the registry has another version of the number that status has."""
    return (
        isinstance(result, ModelView)
        and pinned is not None
        and pinned.version is not None
        and result.replaced(pinned.version, pinned.registered_at, pinned.run_id)
    )
