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


def run(options: argparse.Namespace) -> int:
    """Set the annotation `retry`, and remove it once the operator has acted on it.

    The removal lets the operator give up the revision again where it fails again.
    """
    where = Named(cluster.namespace(options), options.name)

    async def work(client: KubeClient) -> int:
        chosen: list[Entry] = []

        def mark(known: History) -> Annotations:
            chosen[:] = [again(known)]
            return marks(known, chosen[0])

        def unmark(known: History) -> Annotations:
            return (
                {names.ANNOTATION_RETRY: None} if names.ANNOTATION_RETRY in known.resource.metadata.annotations else {}
            )

        await annotate(client, where, mark)
        try:
            known = await _seen(client, where, chosen[0])
        finally:
            await annotate(client, where, unmark)
        print(f"{where.namespace}/{where.name}: {chosen[0].title} {_told(known, chosen[0])}")
        return 0

    return cluster.run(options, work)


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


async def _seen(client: KubeClient, where: Named, chosen: Entry) -> History:
    begin = time.monotonic()
    while True:
        known, _ = await fetch_history(client, where.namespace, where.name)
        if not any(each.hash == chosen.hash and gave_up(known, each) for each in known.entries):
            return known
        if time.monotonic() - begin > PATIENCE:
            raise Failed(f"the operator has not taken it up within {PATIENCE:.0f}s: is it running? Nothing was changed")
        await asyncio.sleep(0.5)
