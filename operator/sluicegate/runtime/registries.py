"""Model resolution at run time: which registry, with which Secret, and when to ask at all."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from sluicegate.adapters.credentials import Credentials
from sluicegate.adapters.http import RegistryEndpoint
from sluicegate.adapters.pool import RegistryPool
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.settings import Settings
from sluicegate.core.intent import registry_of
from sluicegate.core.model_uri import InvalidModelUri, ModelRef, parse
from sluicegate.core.resolution import (
    ResolutionError,
    ResolvedModel,
    invalid_uri,
    registry_unknown,
    resolve_locally,
    secret_not_found,
)
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden
from sluicegate.kube.kinds import SECRET


class Resolver:
    """Resolves the model of a resource; what status has pinned for the same URI is not asked again."""

    def __init__(self, client: KubeClient, settings: Settings, pool: RegistryPool) -> None:
        """The pool stays the caller's to close."""
        self._client = client
        self._settings = settings
        self._pool = pool

    async def resolve(self, resource: ModelDeployment) -> ResolvedModel:
        """What spec.model.uri means.

        Raises:
            ResolutionError: it cannot be told; the reason and what to do.
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
            return local
        return self._pinned(resource) or await self._ask(resource, ref)

    def _pinned(self, resource: ModelDeployment) -> ResolvedModel | None:
        """What status has for the same URI and registry, of the base or the canary: so a promoted canary stays what it is."""
        wanted = (resource.spec.model.uri, registry_of(resource.spec.model, self._settings.default_registry))
        for pinned in (resource.status.model, resource.status.canary_model):
            if pinned is not None and pinned.source is not None and (pinned.uri, pinned.registry) == wanted:
                return ResolvedModel(
                    pinned.uri, pinned.source, pinned.name, pinned.version, pinned.run_id, pinned.model_id
                )
        return None

    async def _ask(self, resource: ModelDeployment, ref: ModelRef) -> ResolvedModel:
        inline = resource.spec.model.inline_registry
        name = registry_of(resource.spec.model, self._settings.default_registry)
        if inline is not None:
            secret = inline.secret_ref.name if inline.secret_ref is not None else None
            url, namespace = inline.tracking_uri, resource.metadata.namespace
        elif name in self._settings.registries:
            configured = self._settings.registries[name]
            secret, url, namespace = configured.secret, configured.tracking_uri, self._settings.operator_namespace
        else:
            raise ResolutionError(registry_unknown(name, self._settings.registries))
        credentials = await self._credentials(namespace, secret, name) if secret is not None else Credentials()
        return await self._pool.resolve(RegistryEndpoint(name=name, tracking_uri=url, credentials=credentials), ref)

    async def _credentials(self, namespace: str, secret: str, registry: str) -> Credentials:
        """Read afresh each time, so that a rotated Secret needs no restart."""
        try:
            found = await self._client.get(SECRET, namespace, secret)
        except Forbidden:
            found = None
        if found is None:
            raise ResolutionError(secret_not_found(namespace, secret, registry))
        return Credentials.from_secret(
            _decoded(found.get("data") or {}), f'The Secret "{secret}" in namespace "{namespace}"'
        )


def _decoded(data: Mapping[str, str]) -> dict[str, bytes]:
    """Values of a Secret; the API server lets nothing but base64 in."""
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in data.items()}
    except binascii.Error:
        return {}
