"""The share of the requests that a candidate should have.

`spec.canary` declares it, or the step of a rollout sets it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from sluicegate.api.names import RevisionHash
from sluicegate.api.rollout import Step
from sluicegate.api.scaling import ScalingSpec
from sluicegate.api.traffic import Header, HeaderMatches
from sluicegate.core.snapshot.facts import Share


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
    return tuple(replace(match.header, type=match.header.type or "Exact") for match in matches or ())


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
