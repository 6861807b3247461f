"""The apply step of a reconcile: write what differs from the plan, in order."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from sluicegate.api import names
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import Manifest, ModelDeployment
from sluicegate.core.plan.types import Autoscaled, Plan
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.snapshot.redaction import sentence
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NamespaceTerminating,
    NotFound,
    Undecodable,
)
from sluicegate.kube.kinds import Kind
from sluicegate.render import children
from sluicegate.render.diff import difference, fingerprinted
from sluicegate.runtime.reconcile.caches import CHILD_KINDS, Caches, Child
from sluicegate.runtime.reconcile.gather import Gathered

logger = logging.getLogger(__name__)

ONLY_CREATE = "1"
"""A resourceVersion that no object has.

An apply with it creates a missing object, and fails with a conflict if the object exists.
Without it, the first apply of a child would take over an object of that name that another owner created.
"""


@dataclass(slots=True)
class Applied:
    """The result of applying a plan."""

    writes: int = 0
    refused: Problem | None = None
    """The problem of the first object that could not be applied."""
    conflicts: int = 0
    """Number of failed preconditions. The caches were out of date, so the resource is reconciled again soon."""


class Applier:
    """Writes the objects that differ from a plan, and no others."""

    def __init__(self, client: KubeClient, caches: Caches) -> None:
        """Create an applier.

        Args:
            client: The API server.
            caches: The caches to compare with. Responses to writes go into them, so the next reconcile sees them.
        """
        self._client = client
        self._caches = caches

    async def apply(self, resource: ModelDeployment, gathered: Gathered, plan: Plan) -> Applied:
        """Apply `plan`.

        The order of the writes matters:

        1. Delete the HPAs of revisions that are not autoscaled, before the operator sets their number of replicas.
        2. Create the ControllerRevision of each new revision, before its pods.
        3. Apply the other children, with the Service and the route after the pods.
        4. Delete surplus children, unless the API server or the operator refused an earlier write.

        Raises:
            NamespaceTerminating: The namespace is being deleted, and the resource with it.
            KubeError: The API server did not respond or is overloaded. The next reconcile makes the missing writes.
        """
        done = Applied()
        for child in self._unwanted_autoscalers(resource, plan):
            await self._delete(kinds.HPA, resource, child, done)
        for manifest in children.records(gathered.snapshot, plan, gathered.templates):
            await self._write(manifest, done)
        for manifest in children.render(resource, plan, gathered.templates):
            await self._write(manifest, done)
        if done.refused is None:
            for kind, child in self._surplus(resource, plan):
                await self._delete(kind, resource, child, done)
        return done

    def _unwanted_autoscalers(self, resource: ModelDeployment, plan: Plan) -> Iterator[Child]:
        autoscaled = {entry.hash for entry in plan.revisions if isinstance(entry.scale, Autoscaled)}
        planned = {entry.hash for entry in plan.revisions} | set(plan.forgotten)
        for child in self._caches.owned(kinds.HPA, resource.key):
            if child.revision in planned - autoscaled:
                yield child

    def _surplus(self, resource: ModelDeployment, plan: Plan) -> Iterator[tuple[Kind, Child]]:
        """Yield the children to delete.

        These are all children of forgotten revisions, the route if the plan drops it, and the children of parked
        revisions except their ControllerRevision and Deployment. Children of revisions that the plan does not mention
        stay.
        """
        parked = {entry.hash for entry in plan.revisions if entry.parked}
        forgotten = set(plan.forgotten)
        for kind in CHILD_KINDS:
            keep_parked = kind in (kinds.CONTROLLER_REVISION, kinds.DEPLOYMENT)
            for child in self._caches.owned(kind, resource.key):
                if (
                    child.revision in forgotten
                    or (child.revision in parked and not keep_parked)
                    or (kind is kinds.HTTP_ROUTE and plan.drop_route and child.name == resource.metadata.name)
                ):
                    yield kind, child

    async def _write(self, manifest: Manifest, done: Applied) -> None:
        kind = kinds.by_api(manifest["apiVersion"], manifest["kind"])
        metadata = manifest["metadata"]
        desired = fingerprinted(manifest)
        cache, key = self._caches.children[kind], (metadata["namespace"], metadata["name"])
        if (undecodable := cache.skipped.get(key)) is not None:
            done.refused = done.refused or _unreadable(undecodable)
            return
        child = cache.get(*key)
        if child is None:
            desired["metadata"]["resourceVersion"] = ONLY_CREATE
        else:
            existing = child.desired_part()
            if not _is_child(existing, metadata):
                done.refused = done.refused or _taken(kind, metadata)
                return
            path = difference(desired, existing)
            if path is None:
                return
            logger.debug("%s %s/%s differs at %s", kind.kind, *key, path)
            if kind is kinds.DEPLOYMENT and "replicas" in desired["spec"]:
                # An HPA may be taking over the replicas. Never overwrite a number that the cache does not have yet.
                desired["metadata"]["resourceVersion"] = child.version
        try:
            response = await self._client.apply(kind, desired, manager=names.MANAGER)
        except Conflict:
            if child is None and await self._is_foreign(kind, manifest):
                done.refused = done.refused or _taken(kind, metadata)
            else:
                done.conflicts += 1
            return
        except NamespaceTerminating:
            raise
        except (Forbidden, Invalid, NotFound) as error:
            done.refused = done.refused or _refusal(kind, metadata, error)
            return
        done.writes += 1
        cache.put(response)

    async def _is_foreign(self, kind: Kind, manifest: Manifest) -> bool:
        """Tell whether an object that the caches do not have is no child of this ModelDeployment.

        A child is added to the caches.
        """
        metadata = manifest["metadata"]
        existing = await self._client.get(kind, metadata["namespace"], metadata["name"])
        if existing is None:
            return False
        if not _is_child(existing, metadata):
            return True
        self._caches.children[kind].put(existing)
        return False

    async def _delete(self, kind: Kind, resource: ModelDeployment, child: Child, done: Applied) -> None:
        namespace = resource.metadata.namespace
        try:
            await self._client.delete(kind, namespace, child.name, uid=child.uid)
        except Conflict:
            done.conflicts += 1
            return
        except Forbidden as error:
            done.refused = done.refused or _refusal(kind, {"namespace": namespace, "name": child.name}, error)
            return
        done.writes += 1
        self._caches.children[kind].forget(namespace, child.name, child.uid)


def _is_child(existing: Manifest, metadata: Manifest) -> bool:
    """Tell whether an object belongs to this ModelDeployment, or may be adopted by it.

    Owners are compared by UID, so a deleted ModelDeployment of the same name is another owner. An object without owners
    is adopted if it has the labels of a child, such as one that `kubectl delete --cascade=orphan` left behind.
    """
    existing_metadata = existing["metadata"]
    if owners := existing_metadata.get("ownerReferences"):
        return any(owner.get("uid") == metadata["ownerReferences"][0]["uid"] for owner in owners)
    labels = existing_metadata.get("labels") or {}
    return all(labels.get(key) == metadata["labels"][key] for key in (names.LABEL_MANAGED_BY, names.LABEL_DEPLOYMENT))


def _taken(kind: Kind, metadata: Manifest) -> Problem:
    return Problem(
        Reason.NAME_TAKEN,
        f"{kind.kind} {metadata['name']} already exists and belongs to another owner. "
        "Delete it, or rename the ModelDeployment.",
    )


def _unreadable(error: Undecodable) -> Problem:
    return Problem(Reason.UNDECODABLE, f"{error}. Delete it, and the operator creates it again.")


def _refusal(kind: Kind, metadata: Manifest, error: ApiError) -> Problem:
    return Problem(
        Reason.APPLY_REFUSED,
        f"The API server refused {kind.kind} {metadata['name']}: {sentence(error.message)}",
        waits_for_user=not isinstance(error, NotFound),
    )
