"""The gather step of a reconcile: build one snapshot of a resource.

The facts come from the caches. The registry is asked only for a model that status does not pin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import ModelDeployment
from sluicegate.config.settings import Settings
from sluicegate.core.models.following import concerns_registry
from sluicegate.core.models.resolution import ResolutionError
from sluicegate.core.rollout.canary import canary_view
from sluicegate.core.snapshot import parse
from sluicegate.core.snapshot.analysis_result import Reading
from sluicegate.core.snapshot.capacity import with_lack_of_room
from sluicegate.core.snapshot.facts import DesiredRevision, GatewayFacts, PodFacts, Problem, Snapshot
from sluicegate.core.snapshot.revision_spec import fetched_from, intent_of
from sluicegate.kube import kinds
from sluicegate.render.pod import Refused, pod_template
from sluicegate.runtime.reconcile.caches import Caches
from sluicegate.runtime.registry.resolver import Resolution
from sluicegate.runtime.resources import Resources
from sluicegate.runtime.supervise import resolved

Manifest = dict[str, Any]


class Resolves(Protocol):
    """Resolves the model URI of a resource, see `Resolver`."""

    async def resolve(self, resource: ModelDeployment) -> Resolution:
        """Return what spec.model.uri resolves to.

        Raises:
            ResolutionError: The URI cannot be resolved.
        """


@dataclass(frozen=True, slots=True)
class Gathered:
    """A snapshot and the pod templates of its revisions."""

    snapshot: Snapshot
    templates: dict[RevisionHash, Manifest]
    """Pod template by revision hash: as stored, and for a new desired revision as rendered now."""


class Gatherer:
    """Builds snapshots."""

    def __init__(
        self,
        caches: Caches,
        resources: Resources,
        resolver: Resolves,
        settings: Settings,
        reading: Callable[[tuple[str, str]], Reading | None] = lambda _: None,
    ) -> None:
        """Create a gatherer, which reads nothing before `gather`.

        Args:
            caches: The informers' caches.
            resources: All ModelDeployments.
            resolver: Resolves model URIs.
            settings: The operator's settings.
            reading: Returns the analysis result of a resource, by key, or None.
        """
        self._caches = caches
        self._resources = resources
        self._resolver = resolver
        self._settings = settings
        self._reading = reading

    async def gather(self, resource: ModelDeployment, now: Callable[[], datetime]) -> Gathered:
        """Return all facts about `resource` as one snapshot.

        Resolution may wait for the registry. The caches are read after it and all at once, so that their facts are of
        the same moment.
        """
        view = canary_view(resource)
        target = await self._target(resource)
        canary = await self._target(view) if view is not None else None
        templates = self._stored_templates(resource)
        target = self._with_template(resource, target, templates)
        if view is not None and canary is not None:
            canary = _of_canary(self._with_template(view, canary, templates))
        return Gathered(self._snapshot(resource, target, canary, now()), templates)

    def _with_template(
        self, resource: ModelDeployment, target: DesiredRevision, templates: dict[RevisionHash, Manifest]
    ) -> DesiredRevision:
        """Add the pod template of the desired revision to `templates`.

        Returns:
            The revision, with a problem if its pod template cannot be rendered.
        """
        if target.intent is None or target.problem is not None or target.intent.hash in templates:
            return target
        try:
            templates[target.intent.hash] = pod_template(resource, target.intent, self._settings)
        except Refused as error:
            return replace(target, problem=error.problem)
        return target

    async def _target(self, resource: ModelDeployment) -> DesiredRevision:
        try:
            found = await resolved("Resolving the model", self._resolver.resolve(resource))
        except ResolutionError as error:
            failure = error.failure
            return DesiredRevision(
                problem=Problem(failure.reason, failure.message, waits_for_user=not failure.transient)
            )
        intent = intent_of(resource, found.model, fetched_from(resource, found.model, self._settings))
        return DesiredRevision(found.model, intent, trouble=_trouble(found), again=found.again, newest=found.newest)

    def _stored_templates(self, resource: ModelDeployment) -> dict[RevisionHash, Manifest]:
        children = self._caches.owned(kinds.CONTROLLER_REVISION, resource.key)
        return {
            child.revision: child.desired_part()["data"]["template"] for child in children if child.revision is not None
        }

    def _snapshot(
        self, resource: ModelDeployment, target: DesiredRevision, canary: DesiredRevision | None, now: datetime
    ) -> Snapshot:
        caches, key = self._caches, resource.key
        pods: dict[RevisionHash, tuple[PodFacts, ...]] = {}
        for pod in caches.pods.owned(key):
            if (revision := pod.facts.revision) is not None:
                pods[revision] = (*pods.get(revision, ()), pod.facts)
        service = caches.children[kinds.SERVICE].get(*key)
        route = caches.children[kinds.HTTP_ROUTE].get(*key)
        return Snapshot(
            now=now,
            resource=resource,
            settings=self._settings,
            desired=target,
            desired_canary=canary,
            revisions=caches.facts(kinds.CONTROLLER_REVISION, key),
            deployments=caches.facts(kinds.DEPLOYMENT, key),
            autoscalers=caches.facts(kinds.HPA, key),
            pods=with_lack_of_room(pods),
            endpoints=parse.merged_endpoints(each.facts for each in caches.slices.owned(key)),
            service=service.facts if service is not None and service.owner == key else None,
            route=route.facts if route is not None and route.owner == key else None,
            gateways=tuple(self._gateways(resource)),
            gateway_api=caches.children[kinds.HTTP_ROUTE].available,
            rival=self._rival(resource),
            reading=self._reading(key),
        )

    def _gateways(self, resource: ModelDeployment) -> list[GatewayFacts]:
        refs = parent_refs(resource, self._settings)
        vouched = frozenset(self._settings.gateway.features)
        found = (self._caches.gateway(ref.namespace or resource.metadata.namespace, ref.name) for ref in refs)
        return [replace(each, vouched=vouched) for each in found]

    def _rival(self, resource: ModelDeployment) -> str | None:
        """Return the `NAMESPACE/NAME` of an older resource that claims the same route.

        Two resources conflict if they have the same explicit path and a host in common. Default paths never conflict.
        """
        mine = resource.spec.traffic.gateway
        if mine.path_prefix is None or not parent_refs(resource, self._settings):
            return None
        for other in self._resources.items():
            theirs = other.spec.traffic.gateway
            hosts_meet = not mine.hostnames or not theirs.hostnames or set(mine.hostnames) & set(theirs.hostnames)
            if other.key == resource.key or theirs.path_prefix != mine.path_prefix or not hosts_meet:
                continue
            if (other.metadata.creation_timestamp, other.key) < (resource.metadata.creation_timestamp, resource.key):
                return "/".join(other.key)
        return None


def _trouble(found: Resolution) -> Problem | None:
    failure = found.trouble
    if failure is None:
        return None
    stays = found.model.version and f"{found.model.name} version {found.model.version}"
    return Problem(
        failure.reason,
        f"{failure.message} {stays or found.model.source}, as resolved before, stays.",
        waits_for_user=not failure.transient and not concerns_registry(failure),
    )


def _of_canary(target: DesiredRevision) -> DesiredRevision:
    """Return `target` with problem messages that name spec.canary."""
    return replace(target, problem=_prefixed(target.problem), trouble=_prefixed(target.trouble))


def _prefixed(problem: Problem | None) -> Problem | None:
    return replace(problem, message=f"spec.canary: {problem.message}") if problem is not None else None


def parent_refs(resource: ModelDeployment, settings: Settings) -> Any:
    """Return the parentRefs of a resource: its own, or those in the settings."""
    return resource.spec.traffic.gateway.parent_refs or settings.gateway.parent_refs


def names_gateway(resource: ModelDeployment, settings: Settings, gateway: tuple[str, str]) -> bool:
    """Tell whether `resource` refers to `gateway`, given as (namespace, name)."""
    refs = parent_refs(resource, settings)
    return any((ref.namespace or resource.metadata.namespace, ref.name) == gateway for ref in refs)
