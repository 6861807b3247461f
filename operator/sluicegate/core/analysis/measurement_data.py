"""The data for one measurement: counters, query results and pairs of responses.

The counters are those of both revisions. The data also includes why a part of it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sluicegate.core.analysis.counters import Side


@dataclass(frozen=True, slots=True)
class Pairs:
    """The responses of two versions to the same requests, compared.

    They are from the measured part of the step.
    """

    compared: int
    """Number of requests to which both versions responded."""
    differing: int
    """Number of these requests whose responses differ at all."""
    largest: float | None = None
    """The largest difference between two numbers at the same place; None if no numbers were compared."""
    example: str = ""
    """One difference as a sentence, for users."""
    unlike: int = 0
    """Number of pairs whose difference is not a number: different text, another structure, or a request that failed on
    one side."""
    beyond: Mapping[float, int] = field(default_factory=dict)
    """By tolerance: number of pairs whose numbers differ by more than the tolerance, or which are unlike."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The result of a PromQL query."""

    candidate: float | None = None
    stable: float | None = None
    problem: str | None = None
    """A message, if there is no number."""


@dataclass(frozen=True, slots=True)
class MeasurementData:
    """All data for one measurement."""

    candidate: Side = field(default_factory=Side)
    stable: Side = field(default_factory=Side)
    problem: str | None = None
    """Why the counters give no outcome, such as a metrics source that is down or pods that count nothing."""
    unread_pods: str | None = None
    """A message about pods of the candidate that did not respond. Their requests are unknown, so no metric passes."""
    stable_problem: str | None = None
    """Why there is no data on stable. Metrics that compare with stable are then Inconclusive."""
    pairs: Pairs | None = None
    pairs_problem: str | None = None
    """Why there are no pairs."""
    query_results: Mapping[str, QueryResult] = field(default_factory=dict)
    """Query results by metric name, for metrics of type Query."""
