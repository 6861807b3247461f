"""`sluicegate history`: the revisions of a ModelDeployment, and what each serves.

It also shows to which revisions a user can roll back.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import yaml

from sluicegate.api import names
from sluicegate.api.status import Role
from sluicegate.cli import cluster
from sluicegate.cli.output import terminal
from sluicegate.cli.output.text import BAD, BUSY, GOOD, HEAD, Cell, Line, Piece, age, columns
from sluicegate.cli.steering.fetch import fetch_history
from sluicegate.cli.steering.revisions import Entry, History
from sluicegate.kube.client import KubeClient


def run(options: argparse.Namespace) -> int:
    """Show the revisions once."""
    where = cluster.namespace(options)

    async def once(client: KubeClient) -> int:
        known, notes = await fetch_history(client, where, options.name)
        if options.output is None:
            terminal.show(lambda now, size: lines(known, notes, now))
        elif options.output == "json":
            print(json.dumps(document(known), indent=2, ensure_ascii=False))
        else:
            yaml.safe_dump(document(known), sys.stdout, sort_keys=False, allow_unicode=True)
        return 0

    return cluster.run(options, once)


def lines(known: History, notes: tuple[str, ...], now: datetime) -> Iterator[Line]:
    """Yield the lines of the table.

    The images are shown only where they differ. The reason and the message of a failed revision are shown below it.
    """
    if not known.entries:
        yield [Piece(f"{known.name} has no revisions yet: `sluicegate get {known.name}` tells what it waits for.")]
    else:
        differ = len({each.image for each in known.entries}) > 1
        titles = ["NUMBER", "REVISION", "MODEL", "ROLE", "WEIGHT", "MADE", "RELEASED", "IMAGE", "MARKS"]
        failed = {
            number: each for number, each in enumerate(known.entries) if each.role == Role.FAILED and each.message
        }
        under = {number: [Piece(f"         {each.reason}: {each.message}", BAD)] for number, each in failed.items()}
        yield from columns(titles, [_cells(each, now, differ) for each in known.entries], under=under)
    if known.pin is not None and known.pinned is None:
        words = f"the annotation {names.ANNOTATION_PIN} names {known.pin}, which is not there"
        notes = (*notes, f"{words}: `sluicegate unpin {known.name}` removes it")
    for note in notes:
        yield [Piece(f"note: {note}", BUSY)]


def _cells(entry: Entry, now: datetime, images: bool) -> list[Cell]:
    marks = [word for word, on in (("pinned", entry.pinned), ("aborted", entry.aborted)) if on]
    marks += [] if entry.recorded else ["no record"]
    marks += [entry.reason] if entry.reason else []
    serving = entry.role == Role.STABLE
    return [
        str(entry.number) if entry.number is not None else None,
        Piece(entry.name, HEAD if serving else ""),
        entry.model,
        Piece(entry.role or "-", GOOD if serving else ""),
        f"{entry.weight}%" if entry.weight else None,
        age(entry.made_at, now),
        age(entry.released_at, now),
        entry.image if images else None,
        Piece(", ".join(marks) or "-", BUSY if marks else ""),
    ]


def document(known: History) -> dict[str, Any]:
    """Return the history for programs.

    Every field is always present, and null where its value is not known.
    """
    metadata = known.resource.metadata
    return {
        "name": metadata.name,
        "namespace": metadata.namespace,
        "pin": known.pin,
        "abort": known.abort,
        "revisions": [_revision(each) for each in known.entries],
    }


def _revision(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "revision": entry.hash,
        "name": entry.name,
        "model": entry.model,
        "version": entry.version,
        "image": entry.image,
        "role": entry.role,
        "weight": entry.weight,
        "acceptedWeight": entry.accepted,
        "madeAt": _text(entry.made_at),
        "releasedAt": _text(entry.released_at),
        "recorded": entry.recorded,
        "pinned": entry.pinned,
        "aborted": entry.aborted,
        "reason": entry.reason,
        "message": entry.message,
    }


def _text(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment is not None else None
