"""What people ask for by annotations, whose value names a revision: so they are idempotent, and survive restarts of everything."""

from __future__ import annotations

from sluicegate.api import names
from sluicegate.core.snapshot.facts import Snapshot


def named(snapshot: Snapshot, annotation: str) -> str | None:
    """The hash of the revision that an annotation names, by its hash or as NAME-HASH; None without the annotation."""
    value = snapshot.resource.metadata.annotations.get(annotation)
    return value.strip().removeprefix(f"{snapshot.resource.metadata.name}-") if value is not None else None


def pinned(snapshot: Snapshot) -> str | None:
    """The revision that the annotation `pin` holds in place; None without one, or where it names none that is there."""
    revision = named(snapshot, names.ANNOTATION_PIN)
    return revision if revision in snapshot.revisions else None
