"""The gather step of a reconcile: build one snapshot of a resource.

The facts come from the caches. The registry is asked only for a model that status does not pin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import Key, Manifest, ModelDeployment
from sluicegate.config.child_settings import ChildSettings
from sluicegate.config.settings import Settings
from sluicegate.core.models.following import concerns_registry
from sluicegate.core.models.resolution import ResolutionError
from sluicegate.core.rollout.canary import canary_fields, canary_view
from sluicegate.core.snapshot import parse
from sluicegate.core.snapshot.analysis_result import Reading
from sluicegate.core.snapshot.capacity import with_lack_of_room
from sluicegate.core.snapshot.facts import DesiredRevision, GatewayFacts, PodFacts, Problem, RouteFacts, Snapshot
from sluicegate.core.snapshot.revision_spec import fetched_from, intent_of
from sluicegate.kube import kinds
from sluicegate.render.pod import InvalidSpec, pod_template
from sluicegate.runtime.reconcile.caches import Caches, observed_route
from sluicegate.runtime.reconcile.route_index import PathConflict
from sluicegate.runtime.registry.resolver import Resolution
from sluicegate.runtime.supervise import resolved


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
    children: ChildSettings = field(default_factory=ChildSettings)
    """The operator's settings of children."""


class Gatherer:
    """Builds snapshots."""

    def __init__(
        self,
        caches: Caches,
        resolver: Resolves,
        settings: Settings,
        reading: Callable[[Key], Reading | None] = lambda _: None,
        conflict: Callable[[ModelDeployment], PathConflict] = lambda _: PathConflict(),
    ) -> None:
        """Create a gatherer, which reads nothing before `gather`.

        Args:
            caches: The informers' caches.
            resolver: Resolves model URIs.
            settings: The operator's settings.
            reading: Returns the analysis result of a resource, by key, or None.
            conflict: Returns the resources that paths of a resource belong to.
        """
        self._caches = caches
        self._resolver = resolver
        self._settings = settings
        self._reading = reading
        self._conflict = conflict

    async def gather(self, resource: ModelDeployment, now: Callable[[], datetime]) -> Gathered:
        """Return all facts about `resource` as one snapshot.

        Resolution may wait for the registry. The caches are read after it and all at once, so that their facts are of
        the same moment.
        """
        view = canary_view(resource)
        desired = await self._desired(resource)
        canary = await self._desired(view) if view is not None else None
        templates = self._stored_templates(resource)
        desired = self._with_template(resource, desired, templates)
        if view is not None and canary is not None:
            canary = _of_canary(resource, self._with_template(view, canary, templates))
        return Gathered(self._snapshot(resource, desired, canary, now()), templates, self._settings.children)

    def _with_template(
        self, resource: ModelDeployment, desired: DesiredRevision, templates: dict[RevisionHash, Manifest]
    ) -> DesiredRevision:
        """Add the pod template of the desired revision to `templates`.

        Returns:
            The revision, with a problem if its pod template cannot be rendered.
        """
        if desired.intent is None or desired.problem is not None or desired.intent.hash in templates:
            return desired
        try:
            templates[desired.intent.hash] = pod_template(resource, desired.intent, self._settings)
        except InvalidSpec as error:
            return replace(desired, problem=error.problem)
        return desired

    async def _desired(self, resource: ModelDeployment) -> DesiredRevision:
        try:
            resolution = await resolved("Resolving the model", self._resolver.resolve(resource))
        except ResolutionError as error:
            failure = error.failure
            return DesiredRevision(
                problem=Problem(failure.reason, failure.message, waits_for_user=not failure.transient)
            )
        intent = intent_of(resource, resolution.model, fetched_from(resource, resolution.model, self._settings))
        return DesiredRevision(
            resolution.model,
            intent,
            follow_problem=_problem(resolution),
            again=resolution.again,
            newest=resolution.newest,
        )

    def _stored_templates(self, resource: ModelDeployment) -> dict[RevisionHash, Manifest]:
        children = self._caches.owned(kinds.CONTROLLER_REVISION, resource.metadata)
        return {
            child.revision: child.desired_part()["data"]["template"] for child in children if child.revision is not None
        }

    def _snapshot(
        self, resource: ModelDeployment, desired: DesiredRevision, canary: DesiredRevision | None, now: datetime
    ) -> Snapshot:
        caches, key = self._caches, resource.key
        pods: dict[RevisionHash, tuple[PodFacts, ...]] = {}
        for pod in caches.pods.owned(key):
            if (revision := pod.facts.revision) is not None:
                pods[revision] = (*pods.get(revision, ()), pod.facts)
        owner = resource.metadata
        service = caches.named(kinds.SERVICE, owner)
        route = observed_route(caches, caches.named(kinds.HTTP_ROUTE, owner))
        gateways, conflict = self._gateways(resource), self._conflict(resource)
        return Snapshot(
            now=now,
            resource=resource,
            settings=self._settings,
            desired=desired,
            desired_canary=canary,
            revisions=caches.facts(kinds.CONTROLLER_REVISION, owner),
            deployments=caches.facts(kinds.DEPLOYMENT, owner),
            autoscalers=caches.facts(kinds.HPA, owner),
            pods=with_lack_of_room(pods),
            endpoints=parse.merged_endpoints(endpoint_slice.facts for endpoint_slice in caches.slices.owned(key)),
            service=service.facts if service is not None else None,
            route=route,
            gateways=tuple(gateways),
            former_gateways=tuple(self._former_gateways(route, gateways)),
            gateway_api=caches.children[kinds.HTTP_ROUTE].available,
            metrics_api=caches.metrics_api.served,
            rival=conflict.rival,
            route_taken=conflict.route_taken,
            reading=self._reading(key),
        )

    def _gateways(self, resource: ModelDeployment) -> list[GatewayFacts]:
        refs = parent_refs(resource, self._settings)
        vouched = frozenset(self._settings.gateway.features)
        gateways = (self._caches.gateway(ref.namespace or resource.metadata.namespace, ref.name) for ref in refs)
        return [replace(gateway, vouched=vouched) for gateway in gateways]

    def _former_gateways(self, route: RouteFacts | None, gateways: list[GatewayFacts]) -> list[GatewayFacts]:
        """Return the Gateways that the route is attached to and that are not in `gateways`."""
        named = {(gateway.namespace, gateway.name) for gateway in gateways}
        refs = [parent.ref for parent in route.parents] if route is not None and gateways else []
        former = dict.fromkeys((ref.namespace or "", ref.name) for ref in refs)
        vouched = frozenset(self._settings.gateway.features)
        return [replace(self._caches.gateway(*key), vouched=vouched) for key in former if key not in named]


def _problem(resolution: Resolution) -> Problem | None:
    failure = resolution.failure
    if failure is None:
        return None
    model = resolution.model
    kept = model.version and f"{model.name} version {model.version}"
    return Problem(
        failure.reason,
        f"{failure.message} The operator keeps {kept or model.source}, which it resolved earlier.",
        waits_for_user=not failure.transient and not concerns_registry(failure),
    )


def _of_canary(resource: ModelDeployment, desired: DesiredRevision) -> DesiredRevision:
    """Return `desired` with problem messages that name the fields of spec.canary."""

    def named(problem: Problem | None) -> Problem | None:
        if problem is None:
            return None
        return replace(problem, message=f"spec.canary: {canary_fields(resource, problem.message)}")

    return replace(desired, problem=named(desired.problem), follow_problem=named(desired.follow_problem))


def parent_refs(resource: ModelDeployment, settings: Settings) -> Any:
    """Return the parentRefs of a resource: its own, or those in the settings."""
    return resource.spec.traffic.gateway.parent_refs or settings.gateway.parent_refs


def names_gateway(resource: ModelDeployment, settings: Settings, gateway: Key) -> bool:
    """Tell whether `resource` refers to `gateway`, given as (namespace, name)."""
    refs = parent_refs(resource, settings)
    return any((ref.namespace or resource.metadata.namespace, ref.name) == gateway for ref in refs)
