"""Model resolution at run time.

It decides whether to ask the registry, and what still holds if it does not respond.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import Key, ModelDeployment
from sluicegate.config.settings import Settings
from sluicegate.core.models.following import Followed, ModelView, Registration, concerns_registry
from sluicegate.core.models.resolution import (
    Newest,
    ResolutionError,
    ResolutionFailure,
    ResolvedModel,
    invalid_uri,
    registry_unknown,
    resolve_locally,
)
from sluicegate.core.models.uri import InvalidModelUri, ModelRef, RegistryLatest, RegistryVersion, parse
from sluicegate.core.snapshot.revision_spec import registry_of
from sluicegate.runtime.registry.registries import Registries, RegistryRef
from sluicegate.runtime.supervise import resolved

REMEMBERED = 60.0
"""Seconds for which the facts of a model version are cached.

The time is limited because a deleted model may be created again under its name, with other versions.
"""
_MISSING = frozenset({Reason.VERSION_NOT_FOUND.value, Reason.MODEL_NOT_FOUND.value})


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a URI resolves to, and the failure to resolve it now, if any."""

    model: ResolvedModel
    failure: ResolutionFailure | None = None
    """Why resolution failed now. `model` is then the result of an earlier resolution."""
    again: bool = False
    """Whether the resource must be retried, because nothing else reports the end of the failure."""
    newest: Newest | None = None
    """The registered model's highest version, if spec.model.staleAgainst asks for it and a poll has found it."""


class Views(Protocol):
    """What the last polls returned, see `Follower`."""

    def last_result(self, registry: RegistryRef, model: str) -> ModelView | ResolutionFailure | None:
        """Return the result of a model's last poll, or None before the first one."""

    def learn(self, registry: RegistryRef, ref: Followed, version: str) -> None:
        """Store a version that the registry has just returned for `ref`."""

    def missing(self, registry: RegistryRef, ref: RegistryVersion) -> bool | None:
        """Tell whether a fixed version was missing at its last check.

        Returns:
            None before the first check.
        """

    def registration(self, registry: RegistryRef, ref: RegistryVersion) -> Registration | None:
        """Return the registration of a fixed version at its last check.

        Returns:
            None if the version was missing, and before the first check.
        """


class Outage(Protocol):
    """What the resolver tells about registries that do not respond, see `Recovery`."""

    def failed(self, registry: RegistryRef, key: Key) -> None:
        """Note that a resource has no model, because the registry did not respond."""

    def responded(self, registry: RegistryRef) -> None:
        """Retry the resources that wait for the registry."""


class _Versions:
    """A cache of model versions.

    All followers of an alias that moves share one request.
    """

    def __init__(self, ask: Callable[[RegistryRef, RegistryVersion], Awaitable[ResolvedModel]]) -> None:
        self._ask = ask
        self._tasks: OrderedDict[
            tuple[RegistryRef, RegistryVersion, str], tuple[float, asyncio.Task[ResolvedModel]]
        ] = OrderedDict()

    async def get(self, registry: RegistryRef, ref: RegistryVersion, registration: str = "") -> ResolvedModel:
        """Return the resolved model of `ref`.

        Args:
            registry: The registry to ask.
            ref: The version.
            registration: What tells a version that was registered anew from the one before.

        Raises:
            ResolutionError: The request failed. The next call makes a new one.
        """
        now, key = asyncio.get_running_loop().time(), (registry, ref, registration)
        while self._tasks and next(iter(self._tasks.values()))[0] <= now:
            self._tasks.popitem(last=False)
        if key not in self._tasks:
            self._tasks[key] = (now + REMEMBERED, asyncio.create_task(self._asked(key), name=f"resolve {ref}"))
        return await asyncio.shield(self._tasks[key][1])

    async def _asked(self, key: tuple[RegistryRef, RegistryVersion, str]) -> ResolvedModel:
        try:
            return await self._ask(*key[:2])
        except BaseException:
            self._tasks.pop(key, None)
            raise


class Resolver:
    """Resolves the model of a resource.

    The model that status pins stays until the alias, stage or `latest` points to another version.
    """

    def __init__(
        self,
        registries: Registries,
        settings: Settings,
        pool: RegistryPool,
        views: Views,
        outage: Outage | None = None,
    ) -> None:
        """Create a resolver.

        Args:
            registries: Finds the registry of a resource.
            settings: The operator's settings.
            pool: The clients of registries. The caller closes it.
            views: The results of polls.
            outage: Retries resources without a model as soon as their registry responds.
        """
        self._registries = registries
        self._outage = outage
        self._settings = settings
        self._pool = pool
        self._views = views
        self._versions = _Versions(self._ask)

    async def resolve(self, resource: ModelDeployment) -> Resolution:
        """Return what spec.model.uri resolves to.

        Raises:
            ResolutionError: The URI cannot be resolved, and status has no earlier result. The error says why, and what
                to do.
        """
        try:
            ref = parse(resource.spec.model.uri)
        except InvalidModelUri as error:
            raise ResolutionError(invalid_uri(error)) from error
        named = resource.spec.model.registry
        if named is not None and named not in self._settings.registries:
            raise ResolutionError(registry_unknown(named, self._settings.registries))
        local = resolve_locally(ref)
        if local is not None:
            return Resolution(local)
        registry = self._registries.ref_of(resource)
        pinned = self._pinned(resource)
        newest = self._newest(resource, registry, ref)
        if pinned is not None:
            resolution = await self._followed(registry, ref, pinned) if isinstance(ref, Followed) else None
            return replace(resolution or await self._fixed(resource, registry, ref, pinned), newest=newest)
        try:
            model = await self._ask(registry, ref)
        except ResolutionError as error:
            if self._outage is not None and concerns_registry(error.failure):
                self._outage.failed(registry, resource.key)
            raise
        if isinstance(ref, Followed) and model.version is not None:
            self._views.learn(registry, ref, model.version)
        return Resolution(model, newest=newest)

    def _newest(self, resource: ModelDeployment, registry: RegistryRef, ref: ModelRef) -> Newest | None:
        """Return the highest version of the registered model at its last poll."""
        if resource.spec.model.stale_against != "Model" or not isinstance(ref, Followed | RegistryVersion):
            return None
        view = self._views.last_result(registry, ref.name)
        version = view.pointed(RegistryLatest(ref.name)) if isinstance(view, ModelView) else None
        return Newest(version, view.newest_at) if isinstance(view, ModelView) and version is not None else None

    async def _fixed(
        self, resource: ModelDeployment, registry: RegistryRef, ref: ModelRef, pinned: ResolvedModel
    ) -> Resolution:
        """Resolve a URI whose meaning never changes, unless the version was deleted and registered anew.

        Returns:
            The pinned model, with a failure if the registry no longer has that version.
        """
        if not isinstance(ref, RegistryVersion):
            return Resolution(pinned)
        registration = self._views.registration(registry, ref)
        if registration is not None and registration.differs(pinned.registered_at, pinned.run_id):
            return await self._resolved_again(registry, ref, pinned, str(registration))
        missing = self._views.missing(registry, ref)
        if missing is None:  # The operator has just started, so status decides until the first check.
            missing = any(condition.reason in _MISSING for condition in resource.status.conditions)
        if not missing:
            return Resolution(pinned)
        return await self._resolved_again(registry, ref, pinned)

    async def _resolved_again(
        self, registry: RegistryRef, ref: RegistryVersion, pinned: ResolvedModel, registration: str | None = None
    ) -> Resolution:
        """Ask for a version that was missing or registered anew.

        Args:
            registry: The registry to ask.
            ref: The version.
            pinned: The model that status has.
            registration: What tells the version from the one before. None asks again in any case.

        Returns:
            The model if it is another one than `pinned`, else `pinned`.
        """
        try:
            model = await (
                self._ask(registry, ref) if registration is None else self._versions.get(registry, ref, registration)
            )
        except ResolutionError as error:
            return Resolution(pinned, error.failure, again=error.failure.transient)
        anew = Registration(model.registered_at, model.run_id).differs(pinned.registered_at, pinned.run_id)
        return Resolution(replace(model, uri=pinned.uri) if anew else pinned)

    async def _followed(self, registry: RegistryRef, ref: Followed, pinned: ResolvedModel) -> Resolution:
        """Resolve a followed URI by the last poll of its registry.

        Returns:
            The model that `ref` points to now. It is `pinned` if that has not changed, or if resolution fails.
        """
        view = self._views.last_result(registry, ref.name)
        if isinstance(view, ResolutionFailure):
            return Resolution(pinned, view)
        if view is None:
            return Resolution(pinned)
        version = view.pointed(ref)
        if version is not None and version == pinned.version:
            if not view.replaced(version, pinned.registered_at, pinned.run_id):
                return Resolution(pinned)
            registration = f"{view.created_at} {view.registrations.get(version)}"
            return await self._resolved_again(registry, RegistryVersion(ref.name, int(version)), pinned, registration)
        try:
            if version is None:
                # The registry's error says what exists instead.
                return Resolution(await self._ask(registry, ref))
            model = await self._versions.get(registry, RegistryVersion(ref.name, int(version)))
        except ResolutionError as error:
            return Resolution(pinned, error.failure, again=error.failure.transient)
        return Resolution(replace(model, uri=pinned.uri))

    def _pinned(self, resource: ModelDeployment) -> ResolvedModel | None:
        """Return the model that status has for the same URI and registry, if any.

        It may be the model of the base or of the canary, so that a promoted canary keeps its model.
        """
        identity = (resource.spec.model.uri, registry_of(resource.spec.model, self._settings.default_registry))
        for pinned in (resource.status.model, resource.status.canary_model):
            if pinned is not None and pinned.source is not None and (pinned.uri, pinned.registry) == identity:
                return ResolvedModel(
                    pinned.uri,
                    pinned.source,
                    pinned.name,
                    pinned.version,
                    pinned.run_id,
                    pinned.model_id,
                    pinned.registered_at,
                )
        return None

    async def _ask(self, registry: RegistryRef, ref: ModelRef) -> ResolvedModel:
        endpoint = await self._registries.endpoint(registry)
        model = await resolved(f"A request to {endpoint}", self._pool.resolve(endpoint, ref))
        if self._outage is not None:
            self._outage.responded(registry)
        return model
