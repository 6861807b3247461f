"""`sluicegate history`: the revisions of a ModelDeployment, and what each serves.

It also shows to which revisions a user can roll back.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import yaml

from sluicegate.api import names
from sluicegate.api.status import Role
from sluicegate.cli import cluster
from sluicegate.cli.output import terminal
from sluicegate.cli.output.text import BAD, BUSY, GOOD, HEAD, Cell, Line, Piece, Table, age
from sluicegate.cli.steering.fetch import fetch_history
from sluicegate.cli.steering.revisions import History, RevisionSummary
from sluicegate.kube.client import KubeClient


def run(options: argparse.Namespace) -> int:
    """Show the revisions once."""
    where = cluster.namespace(options)

    async def once(client: KubeClient) -> int:
        history, notes = await fetch_history(client, where, options.name)
        if options.output is None:
            terminal.show(lambda now, size: lines(history, notes, now))
        elif options.output == "json":
            print(json.dumps(document(history), indent=2, ensure_ascii=False), file=terminal.data_output())
        else:
            yaml.safe_dump(document(history), terminal.data_output(), sort_keys=False, allow_unicode=True)
        return 0

    return cluster.run(options, once)


def lines(history: History, notes: tuple[str, ...], now: datetime) -> Iterator[Line]:
    """Yield the lines of the table.

    The images are shown only where they differ. The reason and the message of a failed revision are shown below it.
    """
    if history.revisions:
        yield from _table(history, now).render()
    else:
        yield [Piece(f"{history.name} has no revisions yet. To see why: sluicegate get {history.cli_args}")]
    if history.pin is not None and history.pinned is None:
        notes = (
            *notes,
            f"the annotation {names.ANNOTATION_PIN} names revision {history.pin}, which does not exist. "
            f"To remove it: sluicegate unpin {history.cli_args}",
        )
    for note in notes:
        yield [Piece(f"note: {note}", BUSY)]


def _table(history: History, now: datetime) -> Table:
    images = len({revision.image for revision in history.revisions}) > 1
    table = Table(["NUMBER", "REVISION", "MODEL", "ROLE", "WEIGHT", "CREATED", "RELEASED", "IMAGE", "MARKS"])
    for revision in history.revisions:
        failed = revision.role == Role.FAILED and revision.message
        below = [Piece(f"         {revision.reason}: {revision.message}", BAD)] if failed else None
        table.add(_cells(revision, now, images), below)
    return table


def _cells(revision: RevisionSummary, now: datetime, images: bool) -> list[Cell]:
    marks = ["pinned"] if revision.pinned else []
    marks += ["aborted"] if revision.aborted else []
    marks += [] if revision.recorded else ["no record"]
    marks += [revision.reason] if revision.reason else []
    serving = revision.role == Role.STABLE
    return [
        str(revision.number) if revision.number is not None else None,
        Piece(revision.name, HEAD if serving else ""),
        revision.model,
        Piece(revision.role or "-", GOOD if serving else ""),
        f"{revision.weight}%" if revision.weight else None,
        age(revision.created_at, now),
        age(revision.released_at, now),
        revision.image if images else None,
        Piece(", ".join(marks) or "-", BUSY if marks else ""),
    ]


def document(history: History) -> dict[str, Any]:
    """Return the history for programs.

    Every field is always present, and null where its value is not known.
    """
    metadata = history.resource.metadata
    return {
        "name": metadata.name,
        "namespace": metadata.namespace,
        "pin": history.pin,
        "abort": history.abort,
        "revisions": [_revision(revision) for revision in history.revisions],
    }


def _revision(revision: RevisionSummary) -> dict[str, Any]:
    return {
        "number": revision.number,
        "revision": revision.hash,
        "name": revision.name,
        "model": revision.model,
        "version": revision.version,
        "image": revision.image,
        "role": revision.role,
        "weight": revision.weight,
        "acceptedWeight": revision.accepted,
        "createdAt": _text(revision.created_at),
        "releasedAt": _text(revision.released_at),
        "recorded": revision.recorded,
        "pinned": revision.pinned,
        "aborted": revision.aborted,
        "reason": revision.reason,
        "message": revision.message,
    }


def _text(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment is not None else None
