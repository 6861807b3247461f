"""`sluicegate retry`: gives a revision that failed another time, after what it stumbled over was mended elsewhere."""

from __future__ import annotations

import argparse
import asyncio
import time

from sluicegate.api import names
from sluicegate.api.status import Role
from sluicegate.cli import cluster
from sluicegate.cli.annotate import REMOVE, Named, annotate
from sluicegate.cli.cluster import Failed
from sluicegate.cli.history import read
from sluicegate.cli.revisions import Entry, History
from sluicegate.kube.client import KubeClient

PATIENCE = 30.0
"""Seconds in which the operator should have seen the annotation."""


def run(options: argparse.Namespace) -> int:
    """Sets the annotation `retry`, and removes it once the operator has acted on it: what fails again stays failed again."""
    where = Named(cluster.namespace(options), options.name, names.ANNOTATION_RETRY)

    async def work(client: KubeClient) -> int:
        chosen: list[Entry] = []

        async def mark(known: History) -> str | None:
            chosen[:] = [_failed(known)]
            return chosen[0].hash

        async def unmark(known: History) -> str | None:
            return REMOVE if known.resource.metadata.annotations.get(where.annotation) else None

        await annotate(client, where, mark)
        try:
            await _seen(client, where, chosen[0])
        finally:
            await annotate(client, where, unmark)
        deadline = "its whole spec.rollout.progressDeadline"
        print(
            f"{where.namespace}/{where.name}: {chosen[0].title} is tried again, and has {deadline}: sluicegate get {where.name}"
        )
        return 0

    return cluster.run(options, work)


def _failed(known: History) -> Entry:
    """The revision that failed.

    Raises:
        Failed: none has.
    """
    found = next((each for each in known.entries if each.role == Role.FAILED), None)
    if found is None:
        raise Failed(
            f"no revision of {known.name} has failed for good, so there is nothing to try again: what is wrong now is tried all the "
            f"time, and `sluicegate get {known.name}` says what it is"
        )
    return found


async def _seen(client: KubeClient, where: Named, chosen: Entry) -> None:
    begin = time.monotonic()
    while True:
        known, _ = await read(client, where.namespace, where.name)
        if not any(each.hash == chosen.hash and each.role == Role.FAILED for each in known.entries):
            return
        if time.monotonic() - begin > PATIENCE:
            raise Failed(f"the operator has not taken it up within {PATIENCE:.0f}s: is it running? Nothing was changed")
        await asyncio.sleep(0.5)
