"""The guard before any traffic: a version that its callers may not get along with waits until somebody allows it.

A registry alias is moved by people who do not see the callers. So the signature of what a new revision has fetched is compared
with that of the revision that serves, and while they do not fit the new one runs without a request.
"""

from __future__ import annotations

from sluicegate.core.models import signature
from sluicegate.core.models.signature import Signature
from sluicegate.core.snapshot.facts import Problem, Snapshot
from sluicegate.core.snapshot.overrides import pinned

SHOWN = 5
"""Differences that are told; of wide models there may be hundreds."""


def changes(snapshot: Snapshot, revision: str | None) -> tuple[str, ...]:
    """What in the signature of `revision` keeps it from having requests; nothing where somebody allows it.

    A revision that serves, that a person has pinned, or whose signature its pods do not tell (no init container fetches a volume
    or an image's own model) is not held.
    """
    stable = snapshot.stable
    if revision is None or stable is None or revision == stable or _allowed(snapshot, revision):
        return ()
    old, new = _signature(snapshot, stable), _signature(snapshot, revision)
    return signature.differences(old, new) if old is not None and new is not None else ()


def problem(snapshot: Snapshot, revision: str | None) -> Problem | None:
    """Why `revision` waits, and what lets it go on."""
    found = changes(snapshot, revision)
    if not found:
        return None
    child = snapshot.child(revision or "")
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    field = "spec.canary.model" if _is_canary(snapshot, revision or "") else "spec.model"
    return Problem(
        "SignatureChanged",
        f"Revision {child} gets no requests, because its signature is not compatible with the one that serves: "
        f"{'; '.join(found[:SHOWN])}{more}. Set {field}.allowSignatureChange: true if callers are ready for it, or go back to a version that fits.",
    )


def _allowed(snapshot: Snapshot, revision: str) -> bool:
    """Whether the user has said that callers are ready for `revision`, or wants it whatever they are."""
    spec = snapshot.resource.spec
    by_canary = (
        spec.canary.model.allow_signature_change if spec.canary is not None and spec.canary.model is not None else None
    )
    allowed = (
        spec.model.allow_signature_change if by_canary is None or not _is_canary(snapshot, revision) else by_canary
    )
    return allowed or pinned(snapshot) == revision


def _is_canary(snapshot: Snapshot, revision: str) -> bool:
    asked = snapshot.desired_canary.revision if snapshot.desired_canary is not None else None
    return revision == asked and revision != snapshot.desired.revision


def _signature(snapshot: Snapshot, revision: str) -> Signature | None:
    return next((pod.signature for pod in snapshot.live_pods(revision) if pod.signature is not None), None)
