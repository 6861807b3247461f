"""The informers of everything that the operator watches besides ModelDeployments.

A child is stored as facts plus its desired part as compact JSON. Decisions use the facts, and the diff uses the JSON.
Status fields that are in neither cause no reconcile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import Key, Meta
from sluicegate.core.snapshot import parse, parse_gateway
from sluicegate.core.snapshot.facts import GatewayFacts, PodFacts, RouteFacts
from sluicegate.core.snapshot.route_reports import gateway_key, with_controllers
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.kube.informer import Informer, InformerOptions, InformerTimings
from sluicegate.kube.kinds import Kind
from sluicegate.kube.wire import Object
from sluicegate.runtime.reconcile.metrics_api import MetricsApi
from sluicegate.runtime.reconcile.ownership import Claim, Ownership, claim, ownership

_FACTS: dict[Kind, Callable[[Object], Any]] = {
    kinds.CONTROLLER_REVISION: lambda raw: parse.revision(raw) if parse.revision_hash(raw) else None,
    kinds.DEPLOYMENT: parse.deployment,
    kinds.SERVICE: parse.service,
    kinds.HPA: parse.autoscaler,
    kinds.PDB: lambda raw: None,
    kinds.HTTP_ROUTE: parse_gateway.route,
}
CHILD_KINDS = tuple(_FACTS)
_CHILDREN = (Ownership.OWNED, Ownership.ORPHANED)


@dataclass(frozen=True, slots=True)
class Child:
    """One child that the operator applies, or another object with the labels of a child."""

    owner: Key | None
    """The resource that its labels name. Only `claim` tells whether it belongs to that resource."""
    name: str
    uid: str
    revision: RevisionHash | None
    body: bytes
    """JSON of labels, annotations, owner references, and spec or data."""
    facts: Any
    claim: Claim
    version: str = field(compare=False)
    """The resourceVersion, for preconditions."""
    created: str = ""

    def desired_part(self) -> Object:
        """Return the part of the object that a manifest can set."""
        decoded: Object = msgspec.json.decode(self.body)
        return decoded


def _child(kind: Kind, raw: Object) -> Child:
    metadata = raw["metadata"]
    kept = {
        key: metadata[key]
        for key in ("name", "namespace", "labels", "annotations", "ownerReferences", "deletionTimestamp")
        if key in metadata
    }
    # The items of a list have neither apiVersion nor kind.
    body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": kept}
    body.update({key: raw[key] for key in ("spec", "data", "revision") if key in raw})
    return Child(
        owner=parse.owner_key(raw),
        name=metadata["name"],
        uid=metadata["uid"],
        revision=parse.revision_hash(raw),
        body=msgspec.json.encode(body),
        facts=_FACTS[kind](raw),
        claim=claim(metadata),
        version=metadata["resourceVersion"],
        created=metadata.get("creationTimestamp") or "",
    )


@dataclass(frozen=True, slots=True)
class Owned:
    """Facts and owner of an object that another controller creates.

    Such an object is a pod or an EndpointSlice.
    """

    owner: Key | None
    facts: Any


def _owned(facts: Callable[[Object], Any]) -> Callable[[Object], Owned]:
    return lambda raw: Owned(parse.owner_key(raw), facts(raw))


def _gateway(raw: Object) -> Owned:
    return Owned((raw["metadata"]["namespace"], raw["metadata"]["name"]), parse_gateway.gateway(raw))


def _gateway_class(raw: Object) -> Owned:
    return Owned(("", raw["metadata"]["name"]), parse_gateway.gateway_class(raw))


class Caches:
    """All informers, which start and sync together."""

    def __init__(
        self, client: KubeClient, namespace: str | None, resync: float, gateways_in: Iterable[str] = ()
    ) -> None:
        """Create the informers. `run` starts the watches.

        Args:
            client: The API server.
            namespace: The only namespace to watch. None watches all namespaces.
            resync: Seconds between two full lists.
            gateways_in: Further namespaces whose Gateways to watch if `namespace` is set: those of the platform's
                Gateways.
        """
        self._client = client
        self._namespace = namespace
        self._timings = InformerTimings(relist=resync)
        ours = f"{names.LABEL_MANAGED_BY}={names.MANAGER}"
        self.children: dict[Kind, Informer[Child]] = {
            kind: self._informer(kind, partial(_child, kind), ours) for kind in _FACTS
        }
        self.metrics_api = MetricsApi(client)
        self.pods: Informer[Owned] = self._informer(kinds.POD, _owned(parse.pod), ours)
        self.slices: Informer[Owned] = self._informer(
            kinds.ENDPOINT_SLICE, _owned(parse.endpoints), names.LABEL_DEPLOYMENT
        )
        places = {namespace} if namespace is None else {namespace, *gateways_in}
        self.gateways: dict[str | None, Informer[Owned]] = {
            place: Informer(client, kinds.GATEWAY, self._platform(_gateway, place)) for place in places
        }
        # An operator of one namespace may not read cluster-scoped objects. Only optional features and routes on which
        # several controllers report need them.
        options = self._platform(
            lambda raw: Owned(("", raw["metadata"]["name"]), parse_gateway.gateway_class(raw)), None
        )
        self.gateway_classes: Informer[Owned] = Informer(
            client, kinds.GATEWAY_CLASS, replace(options, optional=namespace is not None)
        )

    def _platform(self, transform: Callable[[Object], Owned], namespace: str | None) -> InformerOptions[Owned]:
        return InformerOptions(
            transform=transform,
            owner_of=lambda stored: stored.owner,
            clock=time.monotonic,
            namespace=namespace,
            timings=self._timings,
        )

    def _informer(self, kind: Kind, transform: Callable[[Object], Any], selector: str) -> Informer[Any]:
        options: InformerOptions[Any] = InformerOptions(
            transform=transform,
            owner_of=lambda stored: stored.owner,
            clock=time.monotonic,
            namespace=self._namespace,
            selector=selector,
            timings=self._timings,
        )
        return Informer(self._client, kind, options)

    @property
    def all(self) -> tuple[Informer[Any], ...]:
        """All informers."""
        return (*self.children.values(), self.pods, self.slices, *self.gateways.values(), self.gateway_classes)

    def subscribe(
        self,
        wake: Callable[[Key], None],
        wake_gateway: Callable[[Key], None],
        wake_route: Callable[[Key], None],
    ) -> None:
        """Register callbacks for changes.

        Args:
            wake: Called with the owner of a pod, an EndpointSlice or a child other than an HTTPRoute that changed.
            wake_gateway: Called with the key of a Gateway that changed.
            wake_route: Called with the owner of an HTTPRoute that changed.
        """
        watched: tuple[Informer[Any], ...] = (*self.children.values(), self.pods, self.slices)
        for informer in watched:
            informer.on_change(wake_route if informer.kind is kinds.HTTP_ROUTE else wake)
        for gateways in self.gateways.values():
            gateways.on_change(wake_gateway)
        self.metrics_api.on_change(lambda: self._wake_autoscaled(wake))
        self.gateway_classes.on_change(partial(self._wake_gateways_of, wake_gateway))

    def _wake_autoscaled(self, wake: Callable[[Key], None]) -> None:
        for _, autoscaler in self.children[kinds.HPA].items():
            if autoscaler.owner is not None:
                wake(autoscaler.owner)

    def _wake_gateways_of(self, wake_gateway: Callable[[Key], None], gateway_class: Key) -> None:
        for gateways in self.gateways.values():
            for key, gateway in gateways.items():
                if gateway.facts.gateway_class == gateway_class[1]:
                    wake_gateway(key)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self.all:
                group.create_task(informer.run(), name=f"watch {informer.kind.kind}")
            group.create_task(self.metrics_api.run(), name="metrics API")

    async def synced(self) -> None:
        """Wait until every cache is synced.

        From then on, an object that is in no cache does not exist in the cluster.
        """
        await asyncio.gather(*(informer.synced.wait() for informer in self.all))

    def silent(self, limit: float) -> str | None:
        """Return a message about watches without activity for `limit` seconds, or None."""
        dead = [informer.kind.kind for informer in self.all if informer.heartbeat_age() > limit]
        return f"no activity on the watch of {', '.join(dead)} for {limit:.0f} s" if dead else None

    def skipped(self) -> dict[str, int]:
        """Return the number of undecodable objects of each kind."""
        counts: dict[str, int] = {}
        for informer in self.all:
            counts[informer.kind.kind] = counts.get(informer.kind.kind, 0) + len(informer.skipped)
        return counts

    def labelled(self, kind: Kind, key: Key) -> list[Child]:
        """Return the objects of one kind whose labels name a resource. Some may not belong to it."""
        return self.children[kind].owned(key)

    def owned(self, kind: Kind, owner: Meta) -> list[Child]:
        """Return the children of one kind that a resource owns or adopts."""
        key = (owner.namespace, owner.name)
        return [child for child in self.labelled(kind, key) if ownership(child.claim, owner) in _CHILDREN]

    def named(self, kind: Kind, owner: Meta) -> Child | None:
        """Return the child with the name of the resource, if the resource owns or adopts it."""
        child = self.children[kind].get(owner.namespace, owner.name)
        return child if child is not None and ownership(child.claim, owner) in _CHILDREN else None

    def facts(self, kind: Kind, owner: Meta) -> dict[RevisionHash, Any]:
        """Return the facts of the children of one kind by the revision that they belong to."""
        return {child.revision: child.facts for child in self.owned(kind, owner) if child.revision is not None}

    def pods_of(self, owner: Key, revision: RevisionHash) -> list[PodFacts]:
        """Return the pods of a revision, including terminating ones."""
        return [pod.facts for pod in self.pods.owned(owner) if pod.facts.revision == revision]

    def gateway(self, namespace: str, name: str) -> GatewayFacts:
        """Return the facts of a Gateway, with `exists=False` if it is not cached."""
        watched = self.gateways.get(None) or self.gateways.get(namespace)
        gateway = watched.get(namespace, name) if watched is not None else None
        if gateway is None:
            return GatewayFacts(namespace, name, exists=False)
        gateway_class = self.gateway_classes.get(None, gateway.facts.gateway_class)
        facts: GatewayFacts = gateway.facts
        if gateway_class is None:
            return facts
        return replace(facts, features=gateway_class.facts.features, controller=gateway_class.facts.controller)


def observed_route(caches: Caches, child: Child | None) -> RouteFacts | None:
    """Return the facts of a resource's HTTPRoute, with what the controllers of its Gateways report."""
    if child is None:
        return None
    route: RouteFacts = child.facts
    gateways = {gateway_key(report.ref) for report in route.reports}
    return with_controllers(route, {gateway: caches.gateway(*gateway).controller for gateway in gateways})
