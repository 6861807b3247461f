"""Evaluation of one metric.

For error rates and latencies, the evaluation looks at two spans: the window and the whole step. The window decides if
it proves the value to be over the limit (Failed) or under it (Passed). Otherwise the whole step decides: Failed if it
proves the value to be over the limit, Passed if the value is within the limit, and Inconclusive in between. More
requests settle an Inconclusive metric.

So random variation does not fail a version, and a lucky minute does not pass a bad one. A good version passes with the
requests that it gets. Decision 0016 has the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sluicegate.api.rollout import AnalysisMetric
from sluicegate.core.analysis import binomial, counters, distribution
from sluicegate.core.analysis.counters import Counts, Histogram
from sluicegate.core.analysis.format import number, seconds, share
from sluicegate.core.analysis.measurement_data import MeasurementData
from sluicegate.core.snapshot.analysis_result import Measurement, Outcome

DEFAULT_CLASSES = ("model", "server", "timeout")
QUANTILES = {"LatencyP50": 0.5, "LatencyP95": 0.95, "LatencyP99": 0.99}
_PROFILE = {"Drift": counters.PREDICTION, "FeatureDrift": counters.FEATURE}


@dataclass(frozen=True, slots=True)
class _Bound:
    """A limit, absolute or relative to stable, and how the value compares with it."""

    limit: float
    """The largest value that passes."""
    above: bool
    """Whether the value is proven to be above the limit."""
    below: bool
    """Whether the value is proven to be below the limit."""
    within: bool
    """Whether the value is not above the limit, proven or not."""


@dataclass(frozen=True, slots=True)
class _Span:
    """The value of a metric in one span of time, compared with its bounds."""

    value: float
    samples: int
    stable: float | None
    bounds: tuple[_Bound, ...]
    message: str

    @property
    def limit(self) -> float:
        """Return the largest value that passes."""
        return min(bound.limit for bound in self.bounds)

    @property
    def above(self) -> bool:
        """Tell whether the value is proven to be above a limit."""
        return any(bound.above for bound in self.bounds)

    @property
    def below(self) -> bool:
        """Tell whether the value is proven to be below all limits."""
        return all(bound.below for bound in self.bounds)

    @property
    def within(self) -> bool:
        """Tell whether the value is not above any limit, proven or not."""
        return all(bound.within for bound in self.bounds)


def evaluate(metric: AnalysisMetric, data: MeasurementData) -> Measurement:
    """Evaluate `metric` and return its measurement."""
    if metric.type == "Query":
        measurement = _query(metric, data)
    elif metric.type in ("Disagreement", "LargestDifference"):
        measurement = _pairs(metric, data)
    elif data.problem is not None:
        measurement = _inconclusive(metric, data.problem)
    elif metric.type in _PROFILE:
        measurement = _drift(metric, data)
    else:
        measurement = _counted(metric, data)
    if measurement.outcome is Outcome.PASSED and data.unread_pods is not None and metric.type != "Query":
        measurement = replace(measurement, outcome=Outcome.INCONCLUSIVE, message=data.unread_pods)
    return replace(measurement, dry_run=metric.dry_run)


def relative(metric: AnalysisMetric) -> bool:
    """Tell whether `metric` needs measurements of stable."""
    return metric.ratio is not None or metric.type in _PROFILE


def _inconclusive(metric: AnalysisMetric, message: str, samples: float = 0.0) -> Measurement:
    return Measurement(metric.name, Outcome.INCONCLUSIVE, samples=round(samples), limit=metric.limit, message=message)


def _few(metric: AnalysisMetric, candidate: float, stable: float, what: str = "requests") -> str | None:
    """Return a message about missing samples, or None if there are enough.

    Status keeps the message while the outcome stays, so it has no number that grows meanwhile.
    """
    if round(candidate) < metric.min_samples:
        return f"The candidate has fewer than the {metric.min_samples:,} {what} that minSamples requires."
    if relative(metric) and round(stable) < metric.min_samples:
        return f"Stable has fewer than the {metric.min_samples:,} {what} that minSamples requires."
    return None


def _counted(metric: AnalysisMetric, data: MeasurementData) -> Measurement:
    """Evaluate an error rate or a latency."""
    if relative(metric) and data.stable_problem is not None:
        return _inconclusive(metric, data.stable_problem)
    compare = _errors if metric.type == "ErrorRate" else _latency
    candidate, stable = data.candidate, data.stable
    few = _few(metric, counters.requests(candidate.step), counters.requests(stable.step))
    if few is not None:
        return _inconclusive(metric, few, counters.requests(candidate.step))
    step, recent = compare(metric, candidate.step, stable.step), None
    if _few(metric, counters.requests(candidate.recent), counters.requests(stable.recent)) is None:
        recent = compare(metric, candidate.recent, stable.recent)
    if step is None:
        return _inconclusive(metric, "The pods report no latencies.")
    if recent is not None and (recent.above or recent.below):
        return _measured(metric, recent, Outcome.FAILED if recent.above else Outcome.PASSED)
    if step.above or step.within:
        return _measured(metric, step, Outcome.FAILED if step.above else Outcome.PASSED)
    return _measured(metric, step, Outcome.INCONCLUSIVE, " The sample is too small to decide.")


def _measured(metric: AnalysisMetric, span: _Span, outcome: Outcome, suffix: str = "") -> Measurement:
    return Measurement(
        metric.name,
        outcome,
        span.value,
        span.stable,
        span.limit if math.isfinite(span.limit) else None,
        span.samples,
        f"{span.message}{suffix}",
    )


def _errors(metric: AnalysisMetric, candidate: Counts, stable: Counts) -> _Span:
    classes = metric.error_classes or DEFAULT_CLASSES
    total, failed = counters.requests(candidate), counters.failed(candidate, classes)
    stable_total, stable_failed = counters.requests(stable), counters.failed(stable, classes)
    bounds = []
    if metric.limit is not None:
        bounds.append(
            _Bound(
                metric.limit,
                above=binomial.above(failed, total, metric.limit),
                below=binomial.below(failed, total, metric.limit),
                within=failed <= metric.limit * total,
            )
        )
    if metric.ratio is not None:
        fair = binomial.relative_share(total, stable_total, metric.ratio)
        most = binomial.most_events(total, stable_failed, stable_total, metric.ratio)
        p_value = binomial.p_value(failed, failed + stable_failed, fair)
        bounds.append(
            _Bound(
                most / total,
                above=round(failed) > most and p_value <= binomial.SIGNIFICANCE,
                below=binomial.below(failed, failed + stable_failed, fair),
                within=round(failed) <= most,
            )
        )
    rate = stable_failed / stable_total if stable_total else None
    kinds = ", ".join(
        f"{error_class} {round(candidate.get((counters.REQUESTS, error_class), 0.0))}" for error_class in classes
    )
    compared = (
        f", and {share(rate)} of {round(stable_total):,} for stable"
        if metric.ratio is not None and rate is not None
        else ""
    )
    return _Span(
        failed / total,
        round(total),
        rate,
        tuple(bounds),
        f"{share(failed / total)} of {round(total):,} requests failed ({kinds}){compared}. "
        f"The limit is {share(min(bound.limit for bound in bounds))}.",
    )


def _latency(metric: AnalysisMetric, candidate: Counts, stable: Counts) -> _Span | None:
    """Compare a latency quantile with its limit in one span.

    A quantile is over a limit if more than its share of the requests is slower than the limit. So this is also a test
    of a share. A histogram has that share only at its bounds. So each limit is rounded up to the next bound.
    """
    rank = QUANTILES[metric.type]
    slow = 1.0 - rank
    histogram, stable_histogram = Histogram.of(candidate), Histogram.of(stable)
    value, stable_value = histogram.quantile(rank), stable_histogram.quantile(rank)
    if value is None:
        return None
    limits: list[tuple[float, float, float]] = []  # (limit, bound to be proven above, bound to be proven below)
    if metric.limit is not None:
        limit = histogram.next_bound(metric.limit)
        limits.append((limit, limit, limit))
    if metric.ratio is not None:
        if stable_value is None:
            return None
        least, most = _range(stable_histogram, slow)
        limit = histogram.next_bound(metric.ratio * stable_value)
        upper = max(limit, histogram.next_bound(metric.ratio * most))
        limits.append((limit, upper, histogram.last_bound(metric.ratio * least)))
    bounds = tuple(
        _Bound(
            limit,
            above=binomial.above(histogram.slower(upper), histogram.total, slow),
            below=binomial.below(histogram.slower(lower), histogram.total, slow),
            within=value <= limit,
        )
        for limit, upper, lower in limits
    )
    compared = (
        f", and {seconds(stable_value)} for stable" if metric.ratio is not None and stable_value is not None else ""
    )
    return _Span(
        value,
        round(histogram.total),
        stable_value,
        bounds,
        f"{metric.type.removeprefix('Latency').lower()} is {seconds(value)} over {round(histogram.total):,} requests"
        f"{compared}. The limit is {seconds(min(bound.limit for bound in bounds))}.",
    )


def _range(histogram: Histogram, slow: float) -> tuple[float, float]:
    """Return the bounds between which a quantile is proven to be.

    The quantile is proven to be above the first bound and not above the second. They are the nearest such bounds on
    both sides of its bucket.
    """
    bounds, total = histogram.bounds, histogram.total
    place = next((index for index, bound in enumerate(bounds) if histogram.slower(bound) <= slow * total), len(bounds))
    least = next(
        (bound for bound in reversed(bounds[:place]) if binomial.above(histogram.slower(bound), total, slow)), 0.0
    )
    most = next(
        (bound for bound in bounds[place:] if binomial.below(histogram.slower(bound), total, slow)), float("inf")
    )
    return least, most


def _drift(metric: AnalysisMetric, data: MeasurementData) -> Measurement:
    """Evaluate the distance between the distributions of both versions' values.

    The span is the whole step.
    """
    if data.stable_problem is not None:
        return _inconclusive(metric, data.stable_problem)
    kind = _PROFILE[metric.type]
    candidate, stable = (counters.columns(side.step, kind) for side in (data.candidate, data.stable))
    common = sorted(candidate.keys() & stable.keys())
    if not common:
        return _inconclusive(metric, _no_profile(kind, candidate, stable))
    rows, stable_rows = (_rows(side, common) for side in (candidate, stable))
    few = _few(metric, rows, stable_rows, "counted rows")
    if few is not None:
        return _inconclusive(metric, few, rows)
    limit, statistic = metric.limit or 0.0, metric.statistic or "PSI"
    distances = {
        column: distribution.drift(stable[column], candidate[column], statistic, limit, len(common))
        for column in common
    }
    worst = max(common, key=lambda column: (distances[column].over, distances[column].value))
    proven = distances[worst].over
    outcome = Outcome.FAILED if proven else Outcome.INCONCLUSIVE
    if not proven and max(distance.value for distance in distances.values()) <= limit:
        outcome = Outcome.PASSED
    value = distances[worst].value
    return Measurement(
        metric.name,
        outcome,
        value,
        None,
        limit,
        round(rows),
        f"{statistic} of {kind} {worst} is {number(value)} between {round(rows):,} rows of the candidate "
        f"and {round(stable_rows):,} of stable. The limit is {number(limit)}."
        + (" The sample is too small to decide." if outcome is Outcome.INCONCLUSIVE else ""),
    )


def _rows(side: Mapping[str, Mapping[str, float]], common: Iterable[str]) -> float:
    return min(sum(side[column].values()) for column in common)


def _no_profile(kind: str, candidate: Mapping[str, object], stable: Mapping[str, object]) -> str:
    if candidate and stable:
        return f"The reference profiles of the two versions have no {kind} in common."
    lacks = "The candidate has no" if stable else "Stable has no" if candidate else "Neither version has a"
    return (
        f"{lacks} reference profile of {kind}s: log one with the model, with "
        "sluicegate_scorer.profile.log_profile(data, predictions, model)."
    )


def _pairs(metric: AnalysisMetric, data: MeasurementData) -> Measurement:
    """Evaluate the responses of both versions to the same requests."""
    pairs = data.pairs
    if pairs is None:
        return _inconclusive(metric, data.pairs_problem or "No mirrored requests have been compared yet.")
    if pairs.compared < metric.min_samples:
        return _inconclusive(
            metric,
            f"The operator has compared fewer than the {metric.min_samples:,} mirrored requests that minSamples "
            "requires.",
            pairs.compared,
        )
    limit = metric.limit or 0.0
    example = f" {pairs.example}" if pairs.example else ""
    if metric.type == "LargestDifference":
        if pairs.largest is None:
            message = "The responses have no numbers in the same places: use type Disagreement."
            return _inconclusive(metric, message + example, pairs.compared)
        outcome = Outcome.FAILED if pairs.largest > limit or pairs.unlike else Outcome.PASSED
        if pairs.unlike:
            example = f" {pairs.unlike} pairs differ in values that are not numbers.{example}"
        text = (
            f"The largest difference in {pairs.compared:,} pairs of responses is {number(pairs.largest)}. "
            f"The limit is {number(limit)}."
        )
        return Measurement(metric.name, outcome, pairs.largest, None, limit, pairs.compared, text + example)
    outcome = Outcome.INCONCLUSIVE
    differing = pairs.beyond.get(metric.tolerance or 0.0, pairs.differing)
    if binomial.above(differing, pairs.compared, limit):
        outcome = Outcome.FAILED
    elif differing <= limit * pairs.compared:
        outcome = Outcome.PASSED
    value = differing / pairs.compared
    text = (
        f"{share(value)} of {pairs.compared:,} mirrored requests got different responses. The limit is {share(limit)}."
    )
    return Measurement(metric.name, outcome, value, None, limit, pairs.compared, text + example)


def _query(metric: AnalysisMetric, data: MeasurementData) -> Measurement:
    """Evaluate a query result.

    The user's query has computed the number, so there is no statistical test.
    """
    result = data.query_results.get(metric.name)
    if result is None or result.candidate is None:
        return _inconclusive(metric, (result.problem if result else None) or "The query has no result yet.")
    limits = [metric.limit] if metric.limit is not None else []
    if metric.ratio is not None:
        if result.stable is None:
            return _inconclusive(metric, result.problem or "The query has no result for stable.")
        limits.append(metric.ratio * result.stable)
    limit = min(limits)
    compared = (
        f", and {number(result.stable)} for stable" if metric.ratio is not None and result.stable is not None else ""
    )
    return Measurement(
        metric.name,
        Outcome.PASSED if result.candidate <= limit else Outcome.FAILED,
        result.candidate,
        result.stable,
        limit,
        message=f"The query result is {number(result.candidate)}{compared}. The limit is {number(limit)}.",
    )
