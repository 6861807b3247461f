"""Writes that the API server did not accept, as problems of the resource.

The messages quote the API server. What the operator does depends only on the HTTP status, the reason and the details of
the response, because the wording of a message may change.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sluicegate.api import names
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import Manifest
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.snapshot.redaction import sentence
from sluicegate.kube.errors import ApiError, Conflict, Forbidden, Invalid, KubeError, NotFound, Undecodable, Unreachable
from sluicegate.kube.kinds import Kind

CONFLICT_SECONDS = 5.0
"""Seconds that a write must keep failing with a conflict before status reports it. Conflicts are usual while the caches
lag."""

CONNECTION_SECONDS = 2.0
"""Seconds that the connection must keep breaking during a write before status reports it. Idle connections break once
in a while without any fault."""

_RETRIES = "The operator retries."


@dataclass(frozen=True, slots=True)
class Write:
    """One write: what it does to what object."""

    kind: Kind
    name: str
    deletes: bool = False

    def __str__(self) -> str:
        """Return the object as users know it, such as `Deployment churn-5c2f`."""
        return f"{'the deletion of ' if self.deletes else ''}{self.kind.kind} {self.name}"


@dataclass(slots=True)
class Refusals:
    """The writes of one reconcile that were not accepted."""

    problems: dict[Write, Problem] = field(default_factory=dict)
    silent: set[Kind] = field(default_factory=set)
    """Kinds for which a write got no response. A further write of such a kind may take the whole timeout as well."""

    def add(self, write: Write, problem: Problem) -> None:
        """Add the problem of a write."""
        self.problems.setdefault(write, problem)

    def holds(self, kind: Kind) -> bool:
        """Tell whether the reconcile makes no further write of this kind.

        After two kinds without a response, the API server is down rather than one of its webhooks.
        """
        return kind in self.silent or len(self.silent) > 1

    @property
    def problem(self) -> Problem | None:
        """Return the first problem that waits for the user, or else the first one, with the other objects."""
        if not self.problems:
            return None
        everything = list(self.problems.items())
        write, problem = next((entry for entry in everything if entry[1].waits_for_user), everything[0])
        others = ", ".join(str(other) for other in self.problems if other != write)
        return replace(problem, message=f"{problem.message} Also refused: {others}.") if others else problem


def patience(error: KubeError) -> float:
    """Return the seconds that a write must keep failing with such an error before status reports it."""
    if isinstance(error, Conflict):
        return CONFLICT_SECONDS
    return CONNECTION_SECONDS if isinstance(error, Unreachable) and not error.timed_out else 0.0


def refusal(write: Write, error: KubeError) -> Problem:
    """Return the problem of a write that failed with `error`."""
    if isinstance(error, Undecodable):
        return unreadable(error)
    if isinstance(error, Unreachable) and error.timed_out:
        message = f"The API server did not respond to {_written(write)} in time. An admission webhook may be slow."
    elif not isinstance(error, ApiError):
        message = f"The operator cannot complete {_written(write)}: {sentence(str(error))}"
    elif isinstance(error, Conflict):
        message = f"The API server refuses {write} with a conflict each time: {sentence(error.message)}"
    elif isinstance(error, Forbidden | Invalid | NotFound) or error.status < 500:
        message = f"The API server refused {write}: {sentence(error.message)}"
    else:
        message = f"The API server failed to accept {write}: {sentence(error.message)}"
    passes = may_pass(error)
    return Problem(Reason.APPLY_REFUSED, f"{message} {_RETRIES}" if passes else message, waits_for_user=not passes)


def may_pass(error: KubeError) -> bool:
    """Tell whether a failure may pass without a change of the spec or of a policy.

    The API server gives the same response for a full quota and for a missing permission: Forbidden, with the object in
    the details. So both may pass. A policy responds otherwise: an admission webhook without an object in the details,
    and a ValidatingAdmissionPolicy with causes.
    """
    if not isinstance(error, ApiError):
        return True
    if isinstance(error, Invalid):
        return False
    if isinstance(error, Forbidden):
        return bool(error.details.get("kind")) and not error.details.get("causes")
    return error.status in (401, 404, 409, 429) or error.status >= 500


def taken(write: Write, existing: Manifest, owner: Manifest) -> Problem:
    """Return the problem of a child whose name another object has.

    Args:
        write: The write that the other object prevents.
        existing: The object that has the name.
        owner: The owner reference of the child.
    """
    if _being_deleted(existing["metadata"], owner):
        return Problem(
            Reason.NAME_TAKEN,
            f"{write} of a deleted owner still exists, and is being deleted. {_RETRIES}",
            waits_for_user=False,
        )
    return Problem(
        Reason.NAME_TAKEN,
        f"{write} already exists and belongs to another owner. Delete it, or rename the ModelDeployment.",
    )


def unreadable(error: Undecodable) -> Problem:
    """Return the problem of a child that the operator cannot decode."""
    return Problem(Reason.UNDECODABLE, f"{error}. Delete it, and the operator creates it again.")


def _being_deleted(metadata: Manifest, owner: Manifest) -> bool:
    """Tell whether an object is being deleted, or will be by garbage collection.

    An owner of the same kind and name with another UID is an earlier ModelDeployment, which no longer exists.
    """
    if metadata.get("deletionTimestamp"):
        return True
    return any(
        (reference.get("kind"), reference.get("name")) == (names.KIND, owner["name"])
        and str(reference.get("apiVersion")).startswith(f"{names.GROUP}/")
        and reference.get("uid") != owner["uid"]
        for reference in metadata.get("ownerReferences") or ()
    )


def _written(write: Write) -> str:
    return str(write) if write.deletes else f"the write of {write}"
