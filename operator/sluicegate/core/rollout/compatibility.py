"""The signature check that a new revision must pass before it gets any traffic.

The users who move a registry alias do not see the callers of the model. So the operator compares the signature of the
artifacts that a new revision has fetched with that of stable. While they are not compatible, the new revision runs
without requests until the user allows the change.
"""

from __future__ import annotations

from sluicegate.api.reasons import Reason
from sluicegate.core.models import signature
from sluicegate.core.models.signature import Signature
from sluicegate.core.snapshot.facts import Problem, Snapshot
from sluicegate.core.snapshot.overrides import pinned

SHOWN = 5
"""Number of differences in a message. A wide model may have hundreds."""


def changes(snapshot: Snapshot, revision: str | None) -> tuple[str, ...]:
    """Return the signature changes that keep `revision` from getting requests.

    The result is empty if the user allows the changes. It is also empty for stable, for a revision that the user has
    pinned, and for a revision whose pods report no signature. Pods report none for a model on a volume or in an image,
    because no init container fetches it.
    """
    stable = snapshot.stable
    if revision is None or stable is None or revision == stable or _allowed(snapshot, revision):
        return ()
    old, new = _signature(snapshot, stable), _signature(snapshot, revision)
    return signature.differences(old, new) if old is not None and new is not None else ()


def problem(snapshot: Snapshot, revision: str | None) -> Problem | None:
    """Return why `revision` gets no requests, and how the user can allow them."""
    found = changes(snapshot, revision)
    if not found:
        return None
    child = snapshot.child(revision or "")
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    field = "spec.canary.model" if _is_canary(snapshot, revision or "") else "spec.model"
    return Problem(
        Reason.SIGNATURE_CHANGED,
        f"Revision {child} receives no requests, because its signature is not compatible with that of stable: "
        f"{'; '.join(found[:SHOWN])}{more}. Set {field}.allowSignatureChange: true when callers are ready for it, "
        "or return to a compatible version.",
    )


def _allowed(snapshot: Snapshot, revision: str) -> bool:
    """Tell whether the user accepts the signature of `revision`.

    Either allowSignatureChange is true, or the user has pinned the revision.
    """
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
