"""Staleness: since when the spec's URI means another version than the one that serves, whatever keeps that one from serving."""

from __future__ import annotations

from datetime import datetime

from sluicegate.api import duration
from sluicegate.core.facts import Snapshot
from sluicegate.core.observe import time_of


def newer_since(snapshot: Snapshot, stable: str | None) -> datetime | None:
    """When the URI came to mean another version than the one that `stable` serves; None while it means that one.

    It is the time at which the version was resolved, as status keeps it, so it neither moves nor needs a memory of its own.
    """
    wanted, serving = snapshot.target.resolved, snapshot.revisions.get(stable or "")
    if wanted is None or serving is None or (wanted.version, wanted.source) == (serving.version, serving.source):
        return None
    before = snapshot.resource.status.model
    if before is not None and (before.version, before.source) == (wanted.version, wanted.source):
        return time_of(before.resolved_at) or snapshot.now
    return snapshot.now


def patience_left(snapshot: Snapshot, stable: str | None) -> float | None:
    """Seconds until a newer version has waited longer than spec.model.maxStaleness; 0 when it has, None where nothing waits."""
    limit, since = snapshot.resource.spec.model.max_staleness, newer_since(snapshot, stable)
    if limit is None or since is None:
        return None
    return max(0.0, duration.seconds(limit) - (snapshot.now - since).total_seconds())
