"""The signature check of a new revision, before it receives traffic.

Users who move an alias in the registry may not know all clients of the model. So the operator compares the signature of
the new revision with the signature of stable. If they are not compatible, the new revision runs without traffic until
a user allows the change.

`RevisionAssessment.incompatible` compares the signatures. This module writes the message for users.
"""

from __future__ import annotations

from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Problem

SHOWN = 5
"""Number of differences in a message. A wide model may have hundreds."""


def problem(assessment: Assessment, revision: RevisionHash | None) -> Problem | None:
    """Return why `revision` receives no traffic, and how a user allows it."""
    differences = assessment.of(revision).incompatible
    if not differences or revision is None:
        return None
    child = assessment.snapshot.child(revision)
    more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    field = "spec.canary.model" if assessment.of(revision).canary_only else "spec.model"
    return Problem(
        Reason.SIGNATURE_CHANGED,
        f"Revision {child} receives no requests, because its signature is not compatible with that of stable: "
        f"{'; '.join(differences[:SHOWN])}{more}. Set {field}.allowSignatureChange: true when callers are ready "
        "for it, or return to a compatible version.",
    )
