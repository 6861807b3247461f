"""What a revision beside the stable one should have of the requests: declared by spec.canary, or given by a rollout's step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from sluicegate.api.rollout import Step
from sluicegate.api.spec import ScalingSpec
from sluicegate.api.traffic import Header, HeaderMatches
from sluicegate.core.snapshot.facts import Snapshot


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the requests."""

    weight: int = 0
    """Percent of the requests that nothing else claims."""
    matches: tuple[Header, ...] = ()
    """Headers of which any one sends a request wholly to it."""
    mirror: int = 0
    """Percent of the requests that are copied to it."""

    @property
    def none(self) -> bool:
        """Whether no request reaches it, not even a copy."""
        return not (self.weight or self.matches or self.mirror)

    @property
    def load(self) -> int:
        """Percent of all requests that its pods must be able to answer. What a match brings cannot be known."""
        return max(self.weight, self.mirror)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A revision beside the stable one: a declared canary, or a target that takes the traffic by steps."""

    revision: str
    share: Share
    scaling: ScalingSpec
    progressive: bool = False
    """Whether its number of pods follows from its share; a declared canary's is written in the spec."""


def headers(matches: HeaderMatches | None) -> tuple[Header, ...]:
    """The headers of a spec's matches, with the default of their type filled in, as the route has them."""
    return tuple(replace(each.header, type=each.header.type or "Exact") for each in matches or ())


def after(steps: Iterable[Step]) -> Share:
    """What a revision has once `steps` have been taken: what a step does not name stays as it was."""
    share = Share()
    for step in steps:
        share = Share(
            weight=share.weight if step.weight is None else step.weight,
            matches=share.matches if step.match is None else headers(step.match),
            mirror=share.mirror if step.mirror is None else step.mirror.percent,
        )
    return share


def present(snapshot: Snapshot, revision: str) -> Share:
    """What a revision has of the route now."""
    split = snapshot.split
    copies = split.mirror.percent if split.mirror is not None and split.mirror.revision == revision else 0
    return Share(split.weight(revision), split.matches if split.matched == revision else (), copies)
