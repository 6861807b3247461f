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
from sluicegate.cli.steering.revisions import History, RevisionSummary
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
    chosen: list[RevisionSummary] = []
    changes: dict[str, str | None] = {}

    def mark(history: History) -> Annotations:
        nonlocal changes
        chosen[:] = [to_retry(history)]
        changes = marks(history, chosen[0])
        return changes

    def unmark(history: History) -> Annotations:
        return {names.ANNOTATION_RETRY: None} if names.ANNOTATION_RETRY in history.resource.metadata.annotations else {}

    await annotate(client, where, mark)
    try:
        history = await _processed(client, where, chosen[0])
    finally:
        await annotate(client, where, unmark)
    if history is None:
        raise Failed(_not_processed(where, [key for key, value in changes.items() if value is None]))
    return f"{where.namespace}/{where.name}: {chosen[0].title} {_effect(history, chosen[0])}"


def _not_processed(where: Named, removed: list[str]) -> str:
    stay = f" Annotations that stay removed: {', '.join(removed)}." if removed else ""
    return (
        f"the operator did not process the annotation {names.ANNOTATION_RETRY} within {PATIENCE:.0f}s, so it was "
        "removed. Check that the operator runs, then run "
        f"`sluicegate retry {names.cli_args(where.name, where.namespace)}` again.{stay}"
    )


def to_retry(history: History) -> RevisionSummary:
    """Return the revision to try again: one that was aborted, rolled back, or failed.

    Raises:
        Failed: There is no such revision.
    """
    given_up = [summary for summary in history.revisions if gave_up(history, summary)]
    rollout = history.resource.status.rollout
    newest = [summary for summary in given_up if rollout is not None and summary.hash == rollout.candidate]
    chosen = aborted(history) or next(iter([*newest, *given_up]), None)
    if chosen is None:
        raise Failed(
            f"no revision of {history.name} was given up, so there is nothing to retry. The operator keeps trying "
            f"everything else. To see why it is not ready: sluicegate get {history.cli_args}"
        )
    return chosen


def marks(history: History, chosen: RevisionSummary) -> dict[str, str | None]:
    """Return the annotations to write.

    These are `retry` where the operator has given up the revision, and the removal of `abort`, `promote` and `pause`,
    which would stop the rollout or skip its steps.
    """
    values: dict[str, str | None] = {}
    if gave_up(history, chosen):
        values[names.ANNOTATION_RETRY] = chosen.hash
    for annotation in (names.ANNOTATION_ABORT, names.ANNOTATION_PROMOTE, names.ANNOTATION_PAUSE):
        if annotation in history.resource.metadata.annotations:
            values[annotation] = None
    return values


def _effect(history: History, chosen: RevisionSummary) -> str:
    steps = history.resource.spec.rollout.steps
    if chosen.role in CANARY_ROLES:
        return f"gets the share of spec.canary again. To see it: sluicegate get {history.cli_args}"
    if steps:
        return (
            f"is tried again, from step 1 ({described(steps[0])}). To see it: sluicegate get {history.cli_args} --watch"
        )
    return f"is tried again, with the full spec.rollout.progressDeadline. To see it: sluicegate get {history.cli_args}"


async def _processed(client: KubeClient, where: Named, chosen: RevisionSummary) -> History | None:
    """Return the history once the operator has acted on the annotation, or None where it does not act in time."""
    begin = time.monotonic()
    while True:
        history, _ = await fetch_history(client, where.namespace, where.name)
        current = history.find(chosen.hash)
        if current is None or not gave_up(history, current):
            return history
        if time.monotonic() - begin >= PATIENCE:
            return None
        await asyncio.sleep(INTERVAL)
