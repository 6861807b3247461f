"""Writing annotations, only if the object has not changed since it was read."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate.api import names
from sluicegate.cli.cluster import Failed
from sluicegate.cli.steering.fetch import fetch_history
from sluicegate.cli.steering.revisions import History
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Conflict
from sluicegate.kube.kinds import MODEL_DEPLOYMENT

ATTEMPTS = 8
"""Number of attempts where another client writes first: the operator writes status while things change."""
Annotations = Mapping[str, str | None]
"""New values by annotation. None removes the annotation."""


@dataclass(frozen=True, slots=True)
class Named:
    """Namespace and name of one ModelDeployment."""

    namespace: str
    name: str


async def annotate(client: KubeClient, where: Named, decide: Callable[[History], Annotations]) -> None:
    """Set and remove annotations in one write.

    Where another client writes first, read the ModelDeployment again and decide anew.

    Args:
        client: The client of the cluster.
        where: The ModelDeployment to annotate.
        decide: Returns the annotations to change, from the history that was read. Nothing is written where it returns
            none.

    Raises:
        Failed: Other clients wrote first in every attempt.
    """
    for attempt in range(ATTEMPTS):
        history, notes = await fetch_history(client, where.namespace, where.name)
        values = decide(history)
        if not values:
            return
        metadata = {
            "namespace": where.namespace,
            "name": where.name,
            "resourceVersion": history.resource.metadata.resource_version,
        }
        try:
            written = await client.annotate(MODEL_DEPLOYMENT, metadata, values, manager=names.CLI_MANAGER)
        except Conflict:
            await asyncio.sleep(0.1 * (attempt + 1))
            continue
        for note in (*notes, *_owned_by_others(written, values)):
            print(f"note: {note}", file=sys.stderr)
        return
    raise Failed(
        f"{where.namespace}/{where.name}: the annotations were not set, because other clients changed the object "
        f"{ATTEMPTS} times in a row. Run the command again"
    )


def _owned_by_others(written: Mapping[str, Any], annotations: Iterable[str]) -> Iterator[str]:
    """Yield a note for each manager that also applies one of the annotations.

    Such a manager will set the annotation again. An example is a GitOps tool that has the annotation in its repository.
    """
    for entry in written["metadata"].get("managedFields") or ():
        owned = ((entry.get("fieldsV1") or {}).get("f:metadata") or {}).get("f:annotations") or {}
        for annotation in annotations:
            if entry.get("operation") == "Apply" and f"f:{annotation}" in owned:
                yield (
                    f"field manager {entry.get('manager')} applies the annotation {annotation} too and will set it "
                    "again: change it there as well"
                )
