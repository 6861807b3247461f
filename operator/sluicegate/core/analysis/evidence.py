"""What a judgement is made from: counters of both revisions, answers of Prometheus, pairs of answers; and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sluicegate.core.analysis.counters import Side


@dataclass(frozen=True, slots=True)
class Pairs:
    """What two versions answered to the same requests, since the step's judged time began."""

    compared: int
    """Requests that both answered."""
    differing: int
    """Those of them to which the answers differ, however little."""
    largest: float | None = None
    """The largest difference between two numbers at the same place; None where no numbers were compared."""
    example: str = ""
    """One difference in words, for people."""
    unlike: int = 0
    """Pairs whose difference no number measures: other words, another form, a request that one of the two failed."""
    beyond: Mapping[float, int] = field(default_factory=dict)
    """By tolerance: pairs with numbers further apart than that, or unlike."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a PromQL query came to."""

    target: float | None = None
    stable: float | None = None
    trouble: str | None = None
    """A sentence, where there is no number."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that one judgement knows."""

    target: Side = field(default_factory=Side)
    stable: Side = field(default_factory=Side)
    trouble: str | None = None
    """Why nothing can be said from the counters: a source that is down, pods that count nothing."""
    blind: str | None = None
    """A sentence about pods of the new version that did not answer: what they do is not known, so nothing passes."""
    stable_trouble: str | None = None
    """Why nothing can be said of stable; what is compared with it is then Inconclusive."""
    pairs: Pairs | None = None
    pairs_trouble: str | None = None
    """Why there are no pairs."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """By metric name, of those of type Query."""
