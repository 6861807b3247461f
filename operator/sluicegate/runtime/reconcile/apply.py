"""The apply step of a reconcile: write what differs from the plan, in order."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sluicegate.api import names
from sluicegate.api.resource import Key, Manifest, ModelDeployment
from sluicegate.core.plan.types import Autoscaled, Plan
from sluicegate.core.snapshot import parse
from sluicegate.core.snapshot.facts import Problem
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Conflict, KubeError, NamespaceTerminating, Unreachable
from sluicegate.kube.kinds import Kind
from sluicegate.render import children
from sluicegate.render.diff import difference, fingerprinted
from sluicegate.runtime.reconcile.caches import CHILD_KINDS, Caches, Child
from sluicegate.runtime.reconcile.field_conflicts import FieldConflicts
from sluicegate.runtime.reconcile.gather import Gathered
from sluicegate.runtime.reconcile.ownership import (
    GARBAGE_COLLECTION_SECONDS,
    Ownership,
    adopted_references,
    claim,
    ownership,
)
from sluicegate.runtime.reconcile.refusals import Refusals, Write, patience, refusal, taken, unreadable

logger = logging.getLogger(__name__)

ONLY_CREATE = "1"
"""A resourceVersion that no object has.

An apply with it creates a missing object, and fails with a conflict if the object exists.
Without it, the first apply of a child would take over an object of that name that another owner created.
"""


@dataclass(slots=True)
class Applied:
    """The result of applying a plan."""

    now: datetime
    """The time of the snapshot."""
    writes: int = 0
    deletions: int = 0
    """How many of the writes were deletions."""
    refusals: Refusals = field(default_factory=Refusals)
    """The writes that were not accepted."""
    conflicts: int = 0
    """Number of failed preconditions. The caches were out of date, so the resource is reconciled again soon."""
    failed: dict[Write, datetime] = field(default_factory=dict)
    """The writes that failed, and since when they do so in every reconcile."""
    recheck_after: float | None = None
    """Seconds until a conflict with another field manager may be over, or the next write of the field is due."""

    @property
    def refused(self) -> Problem | None:
        """The problem of the writes that were not accepted, or None."""
        return self.refusals.problem


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
        self._failed: dict[Key, dict[Write, datetime]] = {}
        """`Applied.failed` of the last reconcile of each resource, where it is not empty."""
        self._conflicts = FieldConflicts()

    def forget(self, key: Key) -> None:
        """Forget a deleted resource."""
        self._failed.pop(key, None)
        self._conflicts.forget(key)

    async def apply(self, resource: ModelDeployment, gathered: Gathered, plan: Plan) -> Applied:
        """Apply `plan`.

        The order of the writes matters:

        0. Adopt the children that lost their owner, so that each further write and deletion is of an owned object.
        1. Delete the HPAs of revisions that are not autoscaled, before the operator sets their number of replicas, and
           the PodDisruptionBudgets if the settings turn them off.
        2. Delete the surplus children that get no requests, because a quota may have room for new ones only then.
        3. Create the ControllerRevision of each new revision, before its pods.
        4. Apply the other children, with the Service and the route after the pods.
        5. Delete the other surplus children, unless the route still names their revision.

        A write that the API server does not accept holds back no other write, except those that need it.

        Raises:
            NamespaceTerminating: The namespace is being deleted, and the resource with it.
            KubeError: The connection to the API server broke. The next reconcile makes the missing writes.
        """
        done = Applied(gathered.snapshot.now)
        try:
            await self._apply(resource, gathered, plan, done)
        finally:
            if done.failed:
                self._failed[resource.key] = done.failed
            else:
                self._failed.pop(resource.key, None)
        return done

    async def _apply(self, resource: ModelDeployment, gathered: Gathered, plan: Plan, done: Applied) -> None:
        await self._adopt(resource, done)
        autoscaled, unrecorded = set(), set()
        for child in self._unwanted_autoscalers(resource, plan):
            if not await self._delete(kinds.HPA, resource, child, done):
                autoscaled.add(child.revision)
        if not gathered.children.pod_disruption_budget:
            for child in list(self._caches.owned(kinds.PDB, resource.metadata)):
                await self._delete(kinds.PDB, resource, child, done)
        await self._delete_surplus(resource, plan, done)
        for manifest in children.records(gathered.snapshot, plan, gathered.templates, gathered.children):
            if not await self._write(resource, manifest, done):
                unrecorded.add(parse.revision_hash(manifest))
        for manifest in children.render(resource, plan, gathered.templates, gathered.children):
            revision = parse.revision_hash(manifest)
            # An HPA that could not be deleted would change the number of replicas back.
            if revision in unrecorded or (revision in autoscaled and manifest["kind"] == kinds.DEPLOYMENT.kind):
                continue
            await self._write(resource, manifest, done)
        if plan.drop_route and (route := self._caches.named(kinds.HTTP_ROUTE, resource.metadata)) is not None:
            await self._delete(kinds.HTTP_ROUTE, resource, route, done)
        await self._delete_surplus(resource, plan, done)

    async def _adopt(self, resource: ModelDeployment, done: Applied) -> None:
        """Adopt the objects that the operator applied for an earlier ModelDeployment of this name.

        Raises:
            KubeError: The ModelDeployment cannot be read.
        """
        orphans = []
        for kind in CHILD_KINDS:
            for child in self._caches.labelled(kind, resource.key):
                state, write = ownership(child.claim, resource.metadata), Write(kind, child.name)
                if state is Ownership.OF_EARLIER and not self._remains(resource, write, done):
                    owner = children.owner_reference(resource.metadata)
                    done.refusals.add(write, taken(write, child.desired_part(), owner))
                elif state in (Ownership.OF_EARLIER, Ownership.ORPHANED):
                    orphans.append((kind, child))
        if orphans and not await self._exists(resource):
            done.conflicts += 1
            return
        for kind, child in orphans:
            await self._adopt_child(kind, resource, child, done)

    async def _exists(self, resource: ModelDeployment) -> bool:
        """Tell whether the ModelDeployment still exists and stays, by a read of the newest state.

        During `kubectl delete --cascade=orphan`, children lose their owner reference before the stream may have
        delivered the deletion. Garbage collection would delete a child that gets the reference back.
        """
        metadata = resource.metadata
        stored = await self._client.get(kinds.MODEL_DEPLOYMENT, metadata.namespace, metadata.name)
        live = stored["metadata"] if stored is not None else {}
        return live.get("uid") == metadata.uid and not live.get("deletionTimestamp")

    def _remains(self, resource: ModelDeployment, write: Write, done: Applied) -> bool:
        """Tell whether garbage collection has left an object of an earlier owner for long."""
        since = done.failed[write] = self._failed.get(resource.key, {}).get(write, done.now)
        return (done.now - since).total_seconds() >= GARBAGE_COLLECTION_SECONDS

    async def _adopt_child(self, kind: Kind, resource: ModelDeployment, child: Child, done: Applied) -> None:
        """Set the owner reference, and nothing else: the data of a ControllerRevision must not change."""
        metadata = child.desired_part()["metadata"]
        seen = {**metadata, "resourceVersion": child.version}
        references = adopted_references(metadata, resource.metadata)
        if done.refusals.holds(kind):
            return
        try:
            response = await self._client.set_owners(kind, seen, references, manager=names.MANAGER)
        except NamespaceTerminating:
            raise
        except KubeError as error:
            self._note(Write(kind, child.name), resource.key, error, done)
            return
        logger.info("%s/%s: adopted %s %s, which had no owner", *resource.key, kind.kind, child.name)
        done.writes += 1
        done.failed.pop(Write(kind, child.name), None)
        self._caches.children[kind].put(response)

    def _unwanted_autoscalers(self, resource: ModelDeployment, plan: Plan) -> Iterator[Child]:
        autoscaled = {entry.hash for entry in plan.revisions if isinstance(entry.scale, Autoscaled)}
        planned = {entry.hash for entry in plan.revisions} | set(plan.forgotten)
        for child in self._caches.owned(kinds.HPA, resource.metadata):
            if child.revision in planned - autoscaled:
                yield child

    async def _delete_surplus(self, resource: ModelDeployment, plan: Plan, done: Applied) -> None:
        """Delete the surplus children of revisions that the route does not name.

        The caches have the responses to the writes of this reconcile, so a child that stays in the first call may go in
        the second one. An undecodable route may name any revision.
        """
        if self._caches.children[kinds.HTTP_ROUTE].skipped.get(resource.key) is not None:
            return
        route = self._caches.named(kinds.HTTP_ROUTE, resource.metadata)
        named = route.facts.split.revisions if route is not None else frozenset()
        for kind, child in list(self._surplus(resource, plan)):
            if child.revision not in named:
                await self._delete(kind, resource, child, done)

    def _surplus(self, resource: ModelDeployment, plan: Plan) -> Iterator[tuple[Kind, Child]]:
        """Yield the children to delete, without the route.

        These are all children of forgotten revisions, and the children of parked revisions except their
        ControllerRevision and Deployment. Children of revisions that the plan does not mention stay.
        """
        parked = {entry.hash for entry in plan.revisions if entry.parked}
        forgotten = set(plan.forgotten)
        for kind in CHILD_KINDS:
            keep_parked = kind in (kinds.CONTROLLER_REVISION, kinds.DEPLOYMENT)
            for child in self._caches.owned(kind, resource.metadata):
                if child.revision in forgotten or (child.revision in parked and not keep_parked):
                    yield kind, child

    async def _write(self, resource: ModelDeployment, manifest: Manifest, done: Applied) -> bool:
        """Write one object if it differs.

        Returns:
            Whether the object is as it should be now.
        """
        kind = kinds.by_api(manifest["apiVersion"], manifest["kind"])
        metadata = manifest["metadata"]
        write, owner = Write(kind, metadata["name"]), metadata["ownerReferences"][0]
        desired = fingerprinted(manifest)
        cache, key = self._caches.children[kind], (metadata["namespace"], metadata["name"])
        if (undecodable := cache.skipped.get(key)) is not None:
            done.refusals.add(write, unreadable(undecodable))
            return False
        child, path = cache.get(*key), None
        if child is None:
            desired["metadata"]["resourceVersion"] = ONLY_CREATE
        else:
            existing, state = child.desired_part(), ownership(child.claim, resource.metadata)
            if state is not Ownership.OWNED:
                if state is not Ownership.ORPHANED:  # The adoption of an orphan failed, and its problem is noted.
                    done.refusals.add(write, taken(write, existing, owner))
                return False
            path = difference(desired, existing)
            wait = self._conflicts.wait(resource.key, write, desired, done.now) if path is not None else 0.0
            if path is None or wait > 0:
                self._report_conflict(resource, write, done, wait)
                return path is None
            logger.debug("%s %s/%s differs at %s", kind.kind, *key, path)
            if kind is kinds.DEPLOYMENT and "replicas" in desired["spec"]:
                # An HPA may be taking over the replicas. Never overwrite a number that the cache does not have yet.
                desired["metadata"]["resourceVersion"] = child.version
        if done.refusals.holds(kind):
            return False
        if path is not None and self._conflicts.begins(resource.key, write, desired, path):
            stored = await self._stored(kind, metadata)
            self._conflicts.note_managers(resource.key, write, path, (stored or manifest)["metadata"])
        try:
            response = await self._send(kind, resource, desired, exists=child is not None)
        except NamespaceTerminating:
            raise
        except KubeError as error:
            self._note(write, resource.key, error, done)
            return False
        if ownership(claim(response["metadata"]), resource.metadata) is not Ownership.OWNED:
            done.refusals.add(write, taken(write, response, owner))
            return False
        done.writes += 1
        cache.put(response)
        if path is not None:
            if self._conflicts.written(resource.key, write, desired, path, done.now):
                logger.warning("%s/%s: another client keeps changing %s of %s", *resource.key, path, write)
            self._report_conflict(resource, write, done)
        return True

    def _report_conflict(self, resource: ModelDeployment, write: Write, done: Applied, wait: float = 0.0) -> None:
        """Add the problem of an object that another client keeps changing, if there is one.

        Args:
            resource: The owner.
            write: The write that the other client reverts.
            done: Receives the problem.
            wait: Seconds until the next write, if the object differs now.
        """
        if (conflict := self._conflicts.problem(resource.key, write, done.now)) is None:
            return
        done.refusals.add(write, conflict[0])
        due = wait or conflict[1]
        done.recheck_after = due if done.recheck_after is None else min(done.recheck_after, due)

    async def _send(self, kind: Kind, resource: ModelDeployment, desired: Manifest, exists: bool) -> Manifest:
        """Apply a manifest.

        Args:
            kind: Kind of the object.
            resource: The owner.
            desired: The manifest.
            exists: Whether the caches have the object.

        Returns:
            The object as stored. If it is not owned, nothing was written.

        Raises:
            KubeError: The write failed. After a conflict with an orphan, the caches have it, and the next reconcile
                adopts it.
        """
        try:
            return await self._client.apply(kind, desired, manager=names.MANAGER)
        except Conflict:
            stored = None if exists else await self._stored(kind, desired["metadata"])
            if stored is None:
                raise
            match ownership(claim(stored["metadata"]), resource.metadata):
                case Ownership.FOREIGN:
                    return stored
                case Ownership.OF_EARLIER:
                    self._caches.children[kind].put(stored)
                    return stored
                case Ownership.ORPHANED:
                    self._caches.children[kind].put(stored)
                    raise
        # The watches do not have it, because it lost the label that they select.
        metadata = {**desired["metadata"], "resourceVersion": stored["metadata"]["resourceVersion"]}
        return await self._client.apply(kind, {**desired, "metadata": metadata}, manager=names.MANAGER)

    async def _stored(self, kind: Kind, metadata: Manifest) -> Manifest | None:
        """Return the object that has the name of a child, or None if it cannot be read."""
        try:
            return await self._client.get(kind, metadata["namespace"], metadata["name"])
        except KubeError:
            return None

    async def _delete(self, kind: Kind, resource: ModelDeployment, child: Child, done: Applied) -> bool:
        """Delete one child, unless it is no longer owned.

        Returns:
            Whether the API server accepted it.
        """
        namespace = resource.metadata.namespace
        if ownership(child.claim, resource.metadata) is not Ownership.OWNED:
            return False
        if done.refusals.holds(kind):
            return False
        try:
            await self._client.delete(kind, namespace, child.name, uid=child.uid)
        except NamespaceTerminating:
            raise
        except KubeError as error:
            self._note(Write(kind, child.name, deletes=True), resource.key, error, done)
            return False
        done.writes += 1
        done.deletions += 1
        self._caches.children[kind].forget(namespace, child.name, child.uid)
        return True

    def _note(self, write: Write, key: Key, error: KubeError, done: Applied) -> None:
        """Note a write that failed.

        Args:
            write: The write.
            key: The resource.
            error: Why the write failed.
            done: Receives the problem.

        Raises:
            KubeError: The connection broke, and has not done so for long.
        """
        since = done.failed[write] = self._failed.get(key, {}).get(write, done.now)
        if (done.now - since).total_seconds() < patience(error):
            if not isinstance(error, Conflict):
                raise error
            done.conflicts += 1
            return
        if isinstance(error, Unreachable):
            done.refusals.silent.add(write.kind)
        logger.warning("%s/%s: %s was not accepted: %s", *key, write, error)
        done.refusals.add(write, refusal(write, error))
