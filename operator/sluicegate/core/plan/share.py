"""The share of the requests that a candidate should have.

`spec.canary` declares it, or the step of a rollout sets it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from sluicegate.api.names import RevisionHash
from sluicegate.api.rollout import Step
from sluicegate.api.spec import ScalingSpec
from sluicegate.api.traffic import Header, HeaderMatches
from sluicegate.core.snapshot.facts import Snapshot


@dataclass(frozen=True, slots=True)
class Share:
    """A traffic share: the weight, match and mirror of one revision."""

    weight: int = 0
    """Percent of the requests that match no header rule."""
    matches: tuple[Header, ...] = ()
    """Header matches. A request with any one of them goes to the revision."""
    mirror: int = 0
    """Percent of the requests that are mirrored to the revision."""

    @property
    def none(self) -> bool:
        """Tell whether no request reaches the revision, not even a mirrored one."""
        return not (self.weight or self.matches or self.mirror)

    @property
    def load(self) -> int:
        """Return the percent of all requests that the pods must be able to serve.

        Requests that a header match sends are not counted, because their number cannot be known.
        """
        return max(self.weight, self.mirror)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A revision that shares the requests with the stable one.

    It is a declared canary, or a revision that is rolled out by steps.
    """

    revision: RevisionHash
    share: Share
    scaling: ScalingSpec
    progressive: bool = False
    """Whether the number of pods follows from the share. For a declared canary, the spec states the number."""


def headers(matches: HeaderMatches | None) -> tuple[Header, ...]:
    """Return the headers of a spec's matches as the route has them.

    A header without a type gets the default, Exact.
    """
    return tuple(replace(each.header, type=each.header.type or "Exact") for each in matches or ())


def after(steps: Iterable[Step]) -> Share:
    """Return the share of a revision after `steps`.

    What a step does not name stays as it was.
    """
    share = Share()
    for step in steps:
        share = Share(
            weight=share.weight if step.weight is None else step.weight,
            matches=share.matches if step.match is None else headers(step.match),
            mirror=share.mirror if step.mirror is None else step.mirror.percent,
        )
    return share


def present(snapshot: Snapshot, revision: RevisionHash) -> Share:
    """Return the share that the route gives a revision now."""
    split = snapshot.split
    copies = split.mirror.percent if split.mirror is not None and split.mirror.revision == revision else 0
    return Share(split.weight(revision), split.matches if split.matched == revision else (), copies)
