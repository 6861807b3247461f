"""Staleness: since when the registry has a newer version than stable serves.

The time counts no matter what keeps the newer version from serving. The newer version is the one that the spec's URI
has come to mean. With `staleAgainst: Model`, it is any higher version of the registered model.
"""

from __future__ import annotations

from datetime import datetime

from sluicegate.api import duration
from sluicegate.api.names import RevisionHash
from sluicegate.api.status import ModelDeploymentStatus, NewerStatus
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.parse import text_of, time_of


def newer_since(assessment: Assessment, stable: RevisionHash | None) -> datetime | None:
    """Return the time since which a newer version than that of `stable` exists.

    For the URI, this is the time at which the version was resolved. For the registered model, it is the time in
    `status.newer`. Status keeps both, so the result does not move and needs no memory of its own. Return None while
    there is no newer version.
    """
    if assessment.spec.model.stale_against == "Model":
        newer_status = newer(assessment, stable)
        return time_of(newer_status.since) or assessment.now if newer_status is not None else None
    desired, serving = assessment.snapshot.desired.resolved, assessment.of(stable).record
    if desired is None or serving is None or (desired.version, desired.source) == (serving.version, serving.source):
        return None
    before = assessment.status.model
    if before is not None and (before.version, before.source) == (desired.version, desired.source):
        return time_of(before.resolved_at) or assessment.now
    return assessment.now


def newer(assessment: Assessment, stable: RevisionHash | None) -> NewerStatus | None:
    """Return the highest version of the registered model, if it is newer.

    Newer means higher than the version that `stable` serves. Return None unless `staleAgainst: Model` asks for it.
    Where several versions were registered one after the other while the same one served, the time of the first one is
    kept. Where the registry does not say, the version that was known before stays.
    """
    desired, serving = assessment.snapshot.desired.resolved, assessment.of(stable).record
    if assessment.spec.model.stale_against != "Model" or desired is None or serving is None:
        return None
    if serving.version is None or serving.model != f"{desired.name}/{serving.version}":
        return None
    status = assessment.status
    recorded, served = status.newer, status.stable
    if recorded is not None and (served is None or served.model != serving.model):
        recorded = None
    newest = assessment.snapshot.desired.newest
    if newest is None:
        return recorded
    if int(newest.version) <= int(serving.version):
        return None
    registered = time_of(newest.registered_at)
    since = min(registered, assessment.now) if registered is not None else assessment.now
    return NewerStatus(newest.version, recorded.since if recorded is not None else text_of(since))


def patience_left(assessment: Assessment, stable: RevisionHash | None) -> float | None:
    """Return the seconds until a newer version has waited for maxStaleness.

    The result is 0 once it has, and None where no newer version waits or no limit is set.
    """
    limit, since = assessment.spec.model.max_staleness, newer_since(assessment, stable)
    if limit is None or since is None:
        return None
    return max(0.0, duration.seconds(limit) - (assessment.now - since).total_seconds())


def age(status: ModelDeploymentStatus, now: datetime) -> float | None:
    """Return the seconds since the version that serves was registered.

    Return None where no version serves, or where its registration time is not known.
    """
    entry = status.stable
    registered = time_of(entry.registered_at) if entry is not None else None
    return max(0.0, (now - registered).total_seconds()) if registered is not None else None


def behind(status: ModelDeploymentStatus, against: str | None, now: datetime) -> float | None:
    """Return the seconds for which the registry has had a newer version, by a status.

    Newer means newer than the version that serves. The result is 0 while there is no newer version. It is None where no
    version of a registered model serves.
    """
    entry, model = status.stable, status.model
    if entry is None or entry.version is None or model is None:
        return None
    if against == "Model":
        since = time_of(status.newer.since) if status.newer is not None else None
    else:
        resolved_model = f"{model.name}/{model.version}"
        since = time_of(model.resolved_at) if model.version is not None and resolved_model != entry.model else None
    return max(0.0, (now - since).total_seconds()) if since is not None else 0.0
