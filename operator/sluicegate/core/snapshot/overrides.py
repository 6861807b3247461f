"""What users ask for by annotations.

The value of such an annotation names a revision. So each one is idempotent, and survives restarts of the operator and
the cluster.
"""

from __future__ import annotations

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.core.snapshot.facts import Snapshot


def named(snapshot: Snapshot, annotation: str) -> RevisionHash | None:
    """Return the hash of the revision that an annotation names.

    The value is the hash or NAME-HASH. Return None without the annotation.
    """
    value = snapshot.resource.metadata.annotations.get(annotation)
    name = snapshot.resource.metadata.name
    return RevisionHash(value.strip().removeprefix(f"{name}-")) if value is not None else None


def pinned(snapshot: Snapshot) -> RevisionHash | None:
    """Return the revision that the annotation `pin` keeps as it is.

    Return None without the annotation, or where it names a revision that does not exist.
    """
    revision = named(snapshot, names.ANNOTATION_PIN)
    return revision if revision in snapshot.revisions else None
