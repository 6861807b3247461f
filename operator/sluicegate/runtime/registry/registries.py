"""The registries that resources refer to, and how to connect to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sluicegate.adapters import bounded
from sluicegate.adapters.mlflow.credentials import Credentials
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.api.model import ModelSpec
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import Key, ModelDeployment
from sluicegate.config import hosts
from sluicegate.config.settings import Settings
from sluicegate.core.models.resolution import (
    ResolutionError,
    ResolutionFailure,
    inline_registry_refused,
    registry_unknown,
    secret_not_found,
    secret_unread,
    webhook_secret_not_found,
)
from sluicegate.core.rollout.canary import canary_view
from sluicegate.core.snapshot.revision_spec import registry_of
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import KubeError
from sluicegate.kube.secrets import read_secret
from sluicegate.runtime.supervise import contained, resolved

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RegistryRef:
    """A registry as a resource refers to it: the server and the Secret."""

    name: str
    """The configured name, or the URL of an inline registry."""
    tracking_uri: str
    namespace: str
    """Namespace of the Secret."""
    secret: str | None


class Registries:
    """Finds the registry of a resource, and how to connect to it."""

    def __init__(self, client: KubeClient, settings: Settings) -> None:
        """Create the lookup of registries.

        Args:
            client: Reads Secrets.
            settings: The operator's settings, which define registries.
        """
        self._client = client
        self._settings = settings

    def ref_of(self, resource: ModelDeployment) -> RegistryRef:
        """Return the registry of `resource`.

        Raises:
            ResolutionError: The settings define no registry of that name, or do not allow the inline registry.
        """
        inline = resource.spec.model.inline_registry
        name = registry_of(resource.spec.model, self._settings.default_registry)
        if inline is not None:
            self._check_host(inline.tracking_uri)
            secret = inline.secret_ref.name if inline.secret_ref is not None else None
            return RegistryRef(name, inline.tracking_uri, resource.metadata.namespace, secret)
        if name not in self._settings.registries:
            raise ResolutionError(registry_unknown(name, self._settings.registries))
        return self.configured(name)

    def _check_host(self, tracking_uri: str) -> None:
        allowed = self._settings.tenants.inline_registry_hosts
        host = bounded.host_of(tracking_uri)
        if allowed is not None and not hosts.matches(host, allowed):
            raise ResolutionError(inline_registry_refused(host, allowed))

    def named(
        self, resources: Iterable[ModelDeployment], pick: Callable[[ModelSpec], Iterable[T]]
    ) -> Iterator[tuple[RegistryRef, Key, T]]:
        """Yield what `pick` returns for the models of each resource.

        These are the resource's model and its canary's model. A model whose registry is not in the settings is skipped,
        and so is a resource that raises. The reconcile of the resource reports the problem.

        Args:
            resources: The resources to go through.
            pick: Returns the items of one model.

        Yields:
            The registry to ask, the resource's key, and one item.
        """
        for resource in resources:
            items: list[tuple[RegistryRef, Key, T]] = []
            with contained("the registry of {}/{}".format(*resource.key)):
                items = list(self._named_by(resource, pick))
            yield from items

    def _named_by(
        self, resource: ModelDeployment, pick: Callable[[ModelSpec], Iterable[T]]
    ) -> Iterator[tuple[RegistryRef, Key, T]]:
        for view in (resource, canary_view(resource)):
            items = tuple(pick(view.spec.model)) if view is not None else ()
            if view is None or not items:
                continue
            try:
                registry = self.ref_of(view)
            except ResolutionError:
                continue
            yield from ((registry, resource.key, item) for item in items)

    async def endpoint(self, ref: RegistryRef) -> RegistryEndpoint:
        """Return the address and credentials of a registry.

        The Secret is read each time, so that a rotated Secret needs no restart.

        Raises:
            ResolutionError: The Secret is missing or invalid.
        """
        credentials = Credentials()
        if ref.secret is not None:
            what = f'Reading the Secret "{ref.secret}" in namespace "{ref.namespace}"'
            credentials = await resolved(what, self._credentials(ref.namespace, ref.secret, ref.name))
        return RegistryEndpoint(name=ref.name, tracking_uri=ref.tracking_uri, credentials=credentials)

    def with_webhooks(self) -> Mapping[str, RegistryRef]:
        """Return the registries that may send webhooks, by name."""
        return {
            name: self.configured(name) for name, entry in self._settings.registries.items() if entry.webhook_secret
        }

    async def webhook_secrets(self, name: str) -> tuple[bytes, ...]:
        """Return the secrets that a registry signs its webhooks with.

        There is one secret, or two during a rotation. The Secret is read each time.

        Raises:
            ResolutionError: The Secret is missing or invalid.
        """
        secret, namespace = self._settings.registries[name].webhook_secret or "", self._settings.operator_namespace
        try:
            what = f'Reading the Secret "{secret}" in namespace "{namespace}"'
            data = await resolved(what, self._secret(namespace, secret, name))
        except ResolutionError as error:
            raise (
                error if error.failure.transient else ResolutionError(webhook_secret_not_found(namespace, secret, name))
            ) from None
        secrets = tuple(value for key in ("secret", "previous") if (value := data.get(key, b"").strip()))
        if not secrets:
            raise ResolutionError(
                ResolutionFailure(
                    Reason.SECRET_INVALID,
                    f'The Secret "{secret}" in namespace "{namespace}" has no key "secret". '
                    f'Add the secret that registry "{name}" signs its webhooks with.',
                )
            )
        return secrets

    def configured(self, name: str) -> RegistryRef:
        """Return a registry that is in the settings."""
        configured = self._settings.registries[name]
        return RegistryRef(name, configured.tracking_uri, self._settings.operator_namespace, configured.secret)

    async def _credentials(self, namespace: str, secret: str, registry: str) -> Credentials:
        data = await self._secret(namespace, secret, registry)
        return Credentials.from_secret(data, f'The Secret "{secret}" in namespace "{namespace}"')

    async def _secret(self, namespace: str, secret: str, registry: str) -> dict[str, bytes]:
        try:
            data = await read_secret(self._client, namespace, secret)
        except KubeError as error:
            raise ResolutionError(secret_unread(namespace, secret, registry, error)) from error
        if data is None:
            raise ResolutionError(secret_not_found(namespace, secret, registry))
        return data
