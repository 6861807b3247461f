"""Annotations of a ModelDeployment, written on the very object that was looked at."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate.api import names
from sluicegate.cli.cluster import Failed
from sluicegate.cli.history import read
from sluicegate.cli.revisions import History
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Conflict
from sluicegate.kube.kinds import MODEL_DEPLOYMENT

ATTEMPTS = 8
"""Writes that are tried where somebody else writes first: the operator writes status while things change."""
REMOVE = ""
"""In place of a value: no annotation."""


@dataclass(frozen=True, slots=True)
class Named:
    """One annotation of one ModelDeployment."""

    namespace: str
    name: str
    annotation: str


async def annotate(client: KubeClient, where: Named, decide: Callable[[History], Awaitable[str | None]]) -> None:
    """Sets or removes an annotation; if somebody wrote first, looks again.

    Args:
        client: The cluster.
        where: What is annotated, and with what.
        decide: From what is there to the annotation's new value: `REMOVE` removes it, None leaves it.

    Raises:
        Failed: others write all the time.
    """
    for attempt in range(ATTEMPTS):
        known, notes = await read(client, where.namespace, where.name)
        value = await decide(known)
        if value is None:
            return
        seen = {
            "namespace": where.namespace,
            "name": where.name,
            "resourceVersion": known.resource.metadata.resource_version,
        }
        values = {where.annotation: value or None}
        try:
            written = await client.annotate(MODEL_DEPLOYMENT, seen, values, manager=names.CLI_MANAGER)
        except Conflict:
            await asyncio.sleep(0.1 * (attempt + 1))
            continue
        for note in (*notes, *_owned_by_others(written, where.annotation)):
            print(f"note: {note}", file=sys.stderr)
        return
    what = f"{where.namespace}/{where.name}"
    raise Failed(f"{what} is written to all the time, so the annotation could not be set: try again")


def _owned_by_others(written: Mapping[str, Any], annotation: str) -> Iterator[str]:
    """Who applies the annotation too, and so will set it again: a GitOps tool that has it in its repository."""
    for entry in written["metadata"].get("managedFields") or ():
        owned = ((entry.get("fieldsV1") or {}).get("f:metadata") or {}).get("f:annotations") or {}
        if entry.get("operation") == "Apply" and f"f:{annotation}" in owned:
            yield f"{entry.get('manager')} applies the annotation {annotation} too: change it there, or it comes back"
