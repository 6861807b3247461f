"""`sluicegate retry`: try a failed revision again.

The command is for a revision whose cause of failure the user has fixed elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from sluicegate.api import names
from sluicegate.cli import cluster
from sluicegate.cli.cluster import Failed
from sluicegate.cli.output.step_text import described
from sluicegate.cli.steering.actions import CANARY_ROLES, aborted, gave_up
from sluicegate.cli.steering.apply import Annotations, Named, annotate
from sluicegate.cli.steering.fetch import fetch_history
from sluicegate.cli.steering.revisions import Entry, History
from sluicegate.kube.client import KubeClient

PATIENCE = 30.0
"""Seconds within which the operator should have acted on the annotation."""
INTERVAL = 0.5


def run(options: argparse.Namespace) -> int:
    """Set the annotation `retry`, and remove it once the operator has acted on it."""
    where = Named(cluster.namespace(options), options.name)

    async def work(client: KubeClient) -> int:
        print(await retry(client, where))
        return 0

    return cluster.run(options, work)


async def retry(client: KubeClient, where: Named) -> str:
    """Let the operator try the revision again, and return what it does now.

    The annotation `retry` is removed in any case, so that the operator can give up the revision again.

    Raises:
        Failed: There is no revision to try again, or the operator does not act on the annotation.
    """
    chosen: list[Entry] = []
    changes: dict[str, str | None] = {}

    def mark(known: History) -> Annotations:
        nonlocal changes
        chosen[:] = [again(known)]
        changes = dict(marks(known, chosen[0]))
        return changes

    def unmark(known: History) -> Annotations:
        return {names.ANNOTATION_RETRY: None} if names.ANNOTATION_RETRY in known.resource.metadata.annotations else {}

    await annotate(client, where, mark)
    try:
        known = await _processed(client, where, chosen[0])
    finally:
        await annotate(client, where, unmark)
    if known is None:
        raise Failed(_not_processed(where, [key for key, value in changes.items() if value is None]))
    return f"{where.namespace}/{where.name}: {chosen[0].title} {_told(known, chosen[0])}"


def _not_processed(where: Named, removed: list[str]) -> str:
    stay = f" Annotations that stay removed: {', '.join(removed)}." if removed else ""
    return (
        f"the operator did not process the annotation {names.ANNOTATION_RETRY} within {PATIENCE:.0f}s, so it was "
        f"removed. Check that the operator runs, then run `sluicegate retry {where.name}` again.{stay}"
    )


def again(known: History) -> Entry:
    """Return the revision to try again: one that was aborted, rolled back, or failed.

    Raises:
        Failed: There is no such revision.
    """
    rollout = known.resource.status.rollout
    given_up = [each for each in known.entries if gave_up(known, each)]
    newest = [each for each in given_up if rollout is not None and each.hash == rollout.target]
    found = aborted(known) or next(iter([*newest, *given_up]), None)
    if found is None:
        raise Failed(
            f"no revision of {known.name} has failed for good, so there is nothing to try again: what is wrong now is "
            f"tried all the time, and `sluicegate get {known.name}` says what it is"
        )
    return found


def marks(known: History, chosen: Entry) -> Annotations:
    """Return the annotations to write.

    These are `retry` where the operator has given up the revision, and the removal of `abort`, `promote` and `pause`,
    which would stop the rollout or skip its steps.
    """
    values: dict[str, str | None] = {}
    if gave_up(known, chosen):
        values[names.ANNOTATION_RETRY] = chosen.hash
    for annotation in (names.ANNOTATION_ABORT, names.ANNOTATION_PROMOTE, names.ANNOTATION_PAUSE):
        if annotation in known.resource.metadata.annotations:
            values[annotation] = None
    return values


def _told(known: History, chosen: Entry) -> str:
    steps = known.resource.spec.rollout.steps
    if chosen.role in CANARY_ROLES:
        return f"gets what spec.canary gives it again: sluicegate get {known.name}"
    if steps:
        return f"is tried again, from step 1 ({described(steps[0])}): sluicegate get {known.name} --watch"
    return f"is tried again, and has its whole spec.rollout.progressDeadline: sluicegate get {known.name}"


async def _processed(client: KubeClient, where: Named, chosen: Entry) -> History | None:
    """Return the history once the operator has acted on the annotation, or None where it does not act in time."""
    begin = time.monotonic()
    while True:
        known, _ = await fetch_history(client, where.namespace, where.name)
        if not any(each.hash == chosen.hash and gave_up(known, each) for each in known.entries):
            return known
        if time.monotonic() - begin >= PATIENCE:
            return None
        await asyncio.sleep(INTERVAL)
