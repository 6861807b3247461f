"""Model resolution at run time: which registry, with which Secret, and when to ask at all."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from sluicegate.adapters.mlflow.credentials import Credentials
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.spec import ModelSpec
from sluicegate.config.settings import Settings
from sluicegate.core.models.following import Followed, ModelView
from sluicegate.core.models.resolution import (
    Newest,
    ResolutionError,
    ResolutionFailure,
    ResolutionReason,
    ResolvedModel,
    invalid_uri,
    registry_unknown,
    resolve_locally,
    secret_not_found,
    secret_unread,
    webhook_secret_not_found,
)
from sluicegate.core.models.uri import InvalidModelUri, ModelRef, RegistryLatest, RegistryVersion, parse
from sluicegate.core.rollout.canary import canary_view
from sluicegate.core.snapshot.revision_spec import registry_of
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden, KubeError
from sluicegate.kube.kinds import SECRET
from sluicegate.runtime.supervise import contained, resolved

T = TypeVar("T")
REMEMBERED = 60.0
"""Seconds for which a version is not asked for again: a deleted model may come back under its name, with other versions."""
_GONE = frozenset({ResolutionReason.VERSION_NOT_FOUND.value, ResolutionReason.MODEL_NOT_FOUND.value})


@dataclass(frozen=True, slots=True)
class RegistryRef:
    """A registry as a resource names it: which server, with which Secret."""

    name: str
    """As configured, or the URL of an inline one."""
    tracking_uri: str
    namespace: str
    """Of the Secret."""
    secret: str | None


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a URI means, and what is wrong with finding out."""

    model: ResolvedModel
    trouble: ResolutionFailure | None = None
    """Why nothing newer is known; `model` is then what was resolved before."""
    again: bool = False
    """Whether nobody will say when the trouble is over, so that it has to be tried again."""
    newest: Newest | None = None
    """The registered model's highest version, where spec.model.staleAgainst asks for it and it is known."""


class Registries:
    """From resources to registries that can be asked."""

    def __init__(self, client: KubeClient, settings: Settings) -> None:
        """The client reads Secrets."""
        self._client = client
        self._settings = settings

    def ref_of(self, resource: ModelDeployment) -> RegistryRef:
        """The registry of `resource`.

        Raises:
            ResolutionError: the settings have none of that name.
        """
        inline = resource.spec.model.inline_registry
        name = registry_of(resource.spec.model, self._settings.default_registry)
        if inline is not None:
            secret = inline.secret_ref.name if inline.secret_ref is not None else None
            return RegistryRef(name, inline.tracking_uri, resource.metadata.namespace, secret)
        if name not in self._settings.registries:
            raise ResolutionError(registry_unknown(name, self._settings.registries))
        return self.configured(name)

    def named(
        self, resources: Iterable[ModelDeployment], pick: Callable[[ModelSpec], Iterable[T]]
    ) -> Iterator[tuple[RegistryRef, tuple[str, str], T]]:
        """What `pick` finds in the model and in the canary's model of each resource, with the registry to ask and the resource's key.

        A resource whose registry the settings do not have, or that raises, is left out: its own reconcile says so.
        """
        for resource in resources:
            found: list[tuple[RegistryRef, tuple[str, str], T]] = []
            with contained("the registry of {}/{}".format(*resource.key)):
                found = list(self._named_by(resource, pick))
            yield from found

    def _named_by(
        self, resource: ModelDeployment, pick: Callable[[ModelSpec], Iterable[T]]
    ) -> Iterator[tuple[RegistryRef, tuple[str, str], T]]:
        for view in (resource, canary_view(resource)):
            found = tuple(pick(view.spec.model)) if view is not None else ()
            if view is None or not found:
                continue
            try:
                registry = self.ref_of(view)
            except ResolutionError:
                continue
            yield from ((registry, resource.key, each) for each in found)

    async def endpoint(self, ref: RegistryRef) -> RegistryEndpoint:
        """Where to ask, with credentials read afresh, so that a rotated Secret needs no restart.

        Raises:
            ResolutionError: the Secret is missing or of no use.
        """
        credentials = Credentials()
        if ref.secret is not None:
            what = f'Reading the Secret "{ref.secret}" in namespace "{ref.namespace}"'
            credentials = await resolved(what, self._credentials(ref.namespace, ref.secret, ref.name))
        return RegistryEndpoint(name=ref.name, tracking_uri=ref.tracking_uri, credentials=credentials)

    def with_webhooks(self) -> Mapping[str, RegistryRef]:
        """The registries that may send webhooks, by name."""
        return {name: self.configured(name) for name, each in self._settings.registries.items() if each.webhook_secret}

    async def webhook_secrets(self, name: str) -> tuple[bytes, ...]:
        """The secrets that a registry signs its webhooks with, read afresh: one, or two while they are being exchanged.

        Raises:
            ResolutionError: the Secret is missing or of no use.
        """
        secret, namespace = self._settings.registries[name].webhook_secret or "", self._settings.operator_namespace
        try:
            what = f'Reading the Secret "{secret}" in namespace "{namespace}"'
            data = await resolved(what, self._secret(namespace, secret, name))
        except ResolutionError as error:
            raise (
                error if error.failure.transient else ResolutionError(webhook_secret_not_found(namespace, secret, name))
            ) from None
        found = tuple(value for key in ("secret", "previous") if (value := data.get(key, b"").strip()))
        if not found:
            raise ResolutionError(
                ResolutionFailure(
                    ResolutionReason.SECRET_INVALID,
                    f'The Secret "{secret}" in namespace "{namespace}" has no key "secret": put there what the webhooks of registry '
                    f'"{name}" are signed with.',
                )
            )
        return found

    def configured(self, name: str) -> RegistryRef:
        """A registry of the settings."""
        configured = self._settings.registries[name]
        return RegistryRef(name, configured.tracking_uri, self._settings.operator_namespace, configured.secret)

    async def _credentials(self, namespace: str, secret: str, registry: str) -> Credentials:
        data = await self._secret(namespace, secret, registry)
        return Credentials.from_secret(data, f'The Secret "{secret}" in namespace "{namespace}"')

    async def _secret(self, namespace: str, secret: str, registry: str) -> dict[str, bytes]:
        try:
            found = await self._client.get(SECRET, namespace, secret)
        except Forbidden:
            found = None
        except KubeError as error:
            raise ResolutionError(secret_unread(namespace, secret, registry, error)) from error
        if found is None:
            raise ResolutionError(secret_not_found(namespace, secret, registry))
        return _decoded(found.get("data") or {})


class Views(Protocol):
    """What is known of followed models: see `Follower`."""

    def seen(self, registry: RegistryRef, model: str) -> ModelView | ResolutionFailure | None:
        """What the last poll showed; None before the first one."""

    def learned(self, registry: RegistryRef, ref: Followed, version: str) -> None:
        """Called with what the registry itself has just said `ref` means."""

    def missing(self, registry: RegistryRef, ref: RegistryVersion) -> bool | None:
        """Whether a fixed version was gone when it was last looked for; None before that."""


class _Versions:
    """What registered versions are. All followers of an alias that moves share one question."""

    def __init__(self, ask: Callable[[RegistryRef, RegistryVersion], Awaitable[ResolvedModel]]) -> None:
        self._ask = ask
        self._known: OrderedDict[tuple[RegistryRef, RegistryVersion], tuple[float, asyncio.Task[ResolvedModel]]] = (
            OrderedDict()
        )

    async def get(self, registry: RegistryRef, ref: RegistryVersion) -> ResolvedModel:
        """What `ref` is.

        Raises:
            ResolutionError: it cannot be told; the next call asks again.
        """
        now, key = asyncio.get_running_loop().time(), (registry, ref)
        while self._known and next(iter(self._known.values()))[0] <= now:
            self._known.popitem(last=False)
        if key not in self._known:
            self._known[key] = (now + REMEMBERED, asyncio.create_task(self._asked(key), name=f"resolve {ref}"))
        return await asyncio.shield(self._known[key][1])

    async def _asked(self, key: tuple[RegistryRef, RegistryVersion]) -> ResolvedModel:
        try:
            return await self._ask(*key)
        except BaseException:
            self._known.pop(key, None)
            raise


class Resolver:
    """Resolves the model of a resource. What status has pinned stays, until the registry points elsewhere."""

    def __init__(self, registries: Registries, settings: Settings, pool: RegistryPool, views: Views) -> None:
        """The pool stays the caller's to close."""
        self._registries = registries
        self._settings = settings
        self._pool = pool
        self._views = views
        self._versions = _Versions(self._ask)

    async def resolve(self, resource: ModelDeployment) -> Resolution:
        """What spec.model.uri means.

        Raises:
            ResolutionError: it cannot be told, and never was; the reason and what to do.
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
            known = await self._followed(registry, ref, pinned) if isinstance(ref, Followed) else None
            return replace(known or await self._fixed(resource, registry, ref, pinned), newest=newest)
        found = await self._ask(registry, ref)
        if isinstance(ref, Followed) and found.version is not None:
            self._views.learned(registry, ref, found.version)
        return Resolution(found, newest=newest)

    def _newest(self, resource: ModelDeployment, registry: RegistryRef, ref: ModelRef) -> Newest | None:
        """The highest version of the registered model, as the last poll showed it."""
        if resource.spec.model.stale_against != "Model" or not isinstance(ref, Followed | RegistryVersion):
            return None
        seen = self._views.seen(registry, ref.name)
        version = seen.pointed(RegistryLatest(ref.name)) if isinstance(seen, ModelView) else None
        return Newest(version, seen.newest_at) if isinstance(seen, ModelView) and version is not None else None

    async def _fixed(
        self, resource: ModelDeployment, registry: RegistryRef, ref: ModelRef, pinned: ResolvedModel
    ) -> Resolution:
        """`pinned`, which means the same for ever; with the trouble that the registry does not have it any more."""
        if not isinstance(ref, RegistryVersion):
            return Resolution(pinned)
        missing = self._views.missing(registry, ref)
        if missing is None:  # just started: it is as status has it, until it is looked for
            missing = any(each.reason in _GONE for each in resource.status.conditions)
        if not missing:
            return Resolution(pinned)
        try:
            await self._ask(registry, ref)
        except ResolutionError as error:
            return Resolution(pinned, error.failure, again=error.failure.transient)
        return Resolution(pinned)  # it is there again

    async def _followed(self, registry: RegistryRef, ref: Followed, pinned: ResolvedModel) -> Resolution:
        """What `ref` means by what the registry shows; `pinned` where that is the same, or cannot be told."""
        seen = self._views.seen(registry, ref.name)
        if isinstance(seen, ResolutionFailure):
            return Resolution(pinned, seen)
        if seen is None or (version := seen.pointed(ref)) == pinned.version:
            return Resolution(pinned)
        try:
            if version is None:
                return Resolution(await self._ask(registry, ref))  # which says what there is instead
            found = await self._versions.get(registry, RegistryVersion(ref.name, int(version)))
        except ResolutionError as error:
            return Resolution(pinned, error.failure, again=error.failure.transient)
        return Resolution(replace(found, uri=pinned.uri))

    def _pinned(self, resource: ModelDeployment) -> ResolvedModel | None:
        """What status has for the same URI and registry, of the base or the canary: so a promoted canary stays what it is."""
        wanted = (resource.spec.model.uri, registry_of(resource.spec.model, self._settings.default_registry))
        for pinned in (resource.status.model, resource.status.canary_model):
            if pinned is not None and pinned.source is not None and (pinned.uri, pinned.registry) == wanted:
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
        return await resolved(f"Asking {endpoint}", self._pool.resolve(endpoint, ref))


def _decoded(data: Mapping[str, str]) -> dict[str, bytes]:
    """Values of a Secret; the API server lets nothing but base64 in."""
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in data.items()}
    except binascii.Error:
        return {}
