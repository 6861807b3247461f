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
from sluicegate.core.analysis.evidence import Evidence
from sluicegate.core.analysis.format import number, seconds, share
from sluicegate.core.snapshot.analysis_result import Measurement, Outcome

DEFAULT_CLASSES = ("model", "server", "timeout")
QUANTILES = {"LatencyP50": 0.5, "LatencyP95": 0.95, "LatencyP99": 0.99}
_PROFILE = {"Drift": counters.PREDICTION, "FeatureDrift": counters.FEATURE}


@dataclass(frozen=True, slots=True)
class _Found:
    """The value of a metric in one span, compared with the limit."""

    value: float
    samples: int
    stable: float | None
    limit: float
    """The largest value that passes."""
    over: bool
    """Whether the value is proven to be over the limit."""
    under: bool
    """Whether the value is proven to be under the limit."""
    within: bool
    """Whether the value is not over the limit, proven or not."""
    message: str


def judge(metric: AnalysisMetric, evidence: Evidence) -> Measurement:
    """Evaluate `metric` and return its measurement."""
    if metric.type == "Query":
        found = _query(metric, evidence)
    elif metric.type in ("Disagreement", "LargestDifference"):
        found = _pairs(metric, evidence)
    elif evidence.trouble is not None:
        found = _inconclusive(metric, evidence.trouble)
    elif metric.type in _PROFILE:
        found = _drift(metric, evidence)
    else:
        found = _counted(metric, evidence)
    if found.outcome is Outcome.PASSED and evidence.blind is not None and metric.type != "Query":
        found = replace(found, outcome=Outcome.INCONCLUSIVE, message=evidence.blind)
    return replace(found, dry_run=metric.dry_run)


def relative(metric: AnalysisMetric) -> bool:
    """Tell whether `metric` needs measurements of stable."""
    return metric.ratio is not None or metric.type in _PROFILE


def _inconclusive(metric: AnalysisMetric, message: str, samples: float = 0.0) -> Measurement:
    return Measurement(metric.name, Outcome.INCONCLUSIVE, samples=round(samples), limit=metric.limit, message=message)


def _few(metric: AnalysisMetric, target: float, stable: float, what: str = "requests") -> str | None:
    """Return a message about missing samples, or None if there are enough."""
    if round(target) < metric.min_samples:
        return f"The candidate has {round(target):,} of the {metric.min_samples:,} {what} that minSamples requires."
    if relative(metric) and round(stable) < metric.min_samples:
        return f"Stable has {round(stable):,} of the {metric.min_samples:,} {what} that minSamples requires."
    return None


def _counted(metric: AnalysisMetric, evidence: Evidence) -> Measurement:
    """Evaluate an error rate or a latency."""
    if relative(metric) and evidence.stable_trouble is not None:
        return _inconclusive(metric, evidence.stable_trouble)
    look = _errors if metric.type == "ErrorRate" else _latency
    target, stable = evidence.target, evidence.stable
    few = _few(metric, counters.requests(target.step), counters.requests(stable.step))
    if few is not None:
        return _inconclusive(metric, few, counters.requests(target.step))
    step, recent = look(metric, target.step, stable.step), None
    if _few(metric, counters.requests(target.recent), counters.requests(stable.recent)) is None:
        recent = look(metric, target.recent, stable.recent)
    if step is None:
        return _inconclusive(metric, "The pods report no latencies.")
    if recent is not None and (recent.over or recent.under):
        return _measured(metric, recent, Outcome.FAILED if recent.over else Outcome.PASSED)
    if step.over or step.within:
        return _measured(metric, step, Outcome.FAILED if step.over else Outcome.PASSED)
    return _measured(metric, step, Outcome.INCONCLUSIVE, " The sample is too small to decide.")


def _measured(metric: AnalysisMetric, found: _Found, outcome: Outcome, more: str = "") -> Measurement:
    return Measurement(
        metric.name,
        outcome,
        found.value,
        found.stable,
        found.limit if math.isfinite(found.limit) else None,
        found.samples,
        f"{found.message}{more}",
    )


def _errors(metric: AnalysisMetric, target: Counts, stable: Counts) -> _Found:
    classes = metric.error_classes or DEFAULT_CLASSES
    tries, hits = counters.requests(target), counters.failed(target, classes)
    others, theirs = counters.requests(stable), counters.failed(stable, classes)
    over, under, within, limits = [], [], [], []
    if metric.limit is not None:
        limits.append(metric.limit)
        over.append(binomial.above(hits, tries, metric.limit))
        under.append(binomial.below(hits, tries, metric.limit))
        within.append(hits <= metric.limit * tries)
    if metric.ratio is not None:
        fair = binomial.relative_share(tries, others, metric.ratio)
        most = binomial.most_hits(tries, theirs, others, metric.ratio)
        limits.append(most / tries)
        over.append(round(hits) > most and binomial.tail(hits, hits + theirs, fair) <= binomial.DOUBT)
        under.append(binomial.below(hits, hits + theirs, fair))
        within.append(round(hits) <= most)
    rate = theirs / others if others else None
    kinds = ", ".join(f"{each} {round(target.get((counters.REQUESTS, each), 0.0))}" for each in classes)
    compared = (
        f", and {share(rate)} of {round(others):,} for stable" if metric.ratio is not None and rate is not None else ""
    )
    return _Found(
        hits / tries,
        round(tries),
        rate,
        min(limits),
        over=any(over),
        under=all(under),
        within=all(within),
        message=f"{share(hits / tries)} of {round(tries):,} requests failed ({kinds}){compared}. "
        f"The limit is {share(min(limits))}.",
    )


def _latency(metric: AnalysisMetric, target: Counts, stable: Counts) -> _Found | None:
    """Compare a latency quantile with its limit in one span.

    A quantile is over a limit if more than its share of the requests is slower than the limit. So this is also a test
    of a share. A histogram has that share only at its bounds. So each limit is rounded up to the next bound.
    """
    rank = QUANTILES[metric.type]
    slow = 1.0 - rank
    mine, theirs = Histogram.of(target), Histogram.of(stable)
    value, other = mine.quantile(rank), theirs.quantile(rank)
    if value is None:
        return None
    over, under, limits = [], [], []
    if metric.limit is not None:
        limits.append(mine.next_bound(metric.limit))
        over.append(binomial.above(mine.slower(limits[0]), mine.total, slow))
        under.append(binomial.below(mine.slower(limits[0]), mine.total, slow))
    if metric.ratio is not None:
        if other is None:
            return None
        least, most = _range(theirs, slow)
        limits.append(mine.next_bound(metric.ratio * other))
        over.append(
            binomial.above(mine.slower(max(limits[-1], mine.next_bound(metric.ratio * most))), mine.total, slow)
        )
        under.append(binomial.below(mine.slower(mine.last_bound(metric.ratio * least)), mine.total, slow))
    limit = min(limits)
    compared = f", and {seconds(other)} for stable" if metric.ratio is not None and other is not None else ""
    return _Found(
        value,
        round(mine.total),
        other,
        limit,
        over=any(over),
        under=all(under),
        within=value <= limit,
        message=f"{metric.type.removeprefix('Latency').lower()} is {seconds(value)} over {round(mine.total):,} requests"
        f"{compared}. The limit is {seconds(limit)}.",
    )


def _range(histogram: Histogram, slow: float) -> tuple[float, float]:
    """Return the bounds between which a quantile is proven to be.

    The quantile is proven to be above the first bound and not above the second. They are the nearest such bounds on
    both sides of its bucket.
    """
    bounds, total = histogram.bounds, histogram.total
    place = next((each for each, bound in enumerate(bounds) if histogram.slower(bound) <= slow * total), len(bounds))
    least = next(
        (each for each in reversed(bounds[:place]) if binomial.above(histogram.slower(each), total, slow)), 0.0
    )
    most = next((each for each in bounds[place:] if binomial.below(histogram.slower(each), total, slow)), float("inf"))
    return least, most


def _drift(metric: AnalysisMetric, evidence: Evidence) -> Measurement:
    """Evaluate the distance between the distributions of both versions' values.

    The span is the whole step.
    """
    if evidence.stable_trouble is not None:
        return _inconclusive(metric, evidence.stable_trouble)
    kind = _PROFILE[metric.type]
    mine, theirs = (counters.columns(side.step, kind) for side in (evidence.target, evidence.stable))
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        return _inconclusive(metric, _no_profile(kind, mine, theirs))
    rows, others = (_rows(side, common) for side in (mine, theirs))
    few = _few(metric, rows, others, "counted rows")
    if few is not None:
        return _inconclusive(metric, few, rows)
    limit, statistic = metric.limit or 0.0, metric.statistic or "PSI"
    found = {each: distribution.drift(theirs[each], mine[each], statistic, limit, len(common)) for each in common}
    worst = max(common, key=lambda each: (found[each].over, found[each].value))
    over = found[worst].over
    outcome = Outcome.FAILED if over else Outcome.INCONCLUSIVE
    if not over and max(each.value for each in found.values()) <= limit:
        outcome = Outcome.PASSED
    value = found[worst].value
    return Measurement(
        metric.name,
        outcome,
        value,
        None,
        limit,
        round(rows),
        f"{statistic} of {kind} {worst} is {number(value)} between {round(rows):,} rows of the candidate "
        f"and {round(others):,} of stable. The limit is {number(limit)}."
        + (" The sample is too small to decide." if outcome is Outcome.INCONCLUSIVE else ""),
    )


def _rows(side: Mapping[str, Mapping[str, float]], common: Iterable[str]) -> float:
    return min(sum(side[each].values()) for each in common)


def _no_profile(kind: str, mine: Mapping[str, object], theirs: Mapping[str, object]) -> str:
    if mine and theirs:
        return f"The reference profiles of the two versions have no {kind} in common."
    who = "The candidate has" if theirs else "Stable has" if mine else "Neither version has"
    return (
        f"{who} no reference profile of {kind}s: log one with the model, with "
        "sluicegate_scorer.profile.log_profile(data, predictions, model)."
    )


def _pairs(metric: AnalysisMetric, evidence: Evidence) -> Measurement:
    """Evaluate the responses of both versions to the same requests."""
    pairs = evidence.pairs
    if pairs is None:
        return _inconclusive(metric, evidence.pairs_trouble or "No mirrored requests have been compared yet.")
    if pairs.compared < metric.min_samples:
        return _inconclusive(
            metric,
            f"The operator compared {pairs.compared:,} of the {metric.min_samples:,} mirrored requests that minSamples "
            "requires.",
            pairs.compared,
        )
    limit = metric.limit or 0.0
    example = f" {pairs.example}" if pairs.example else ""
    if metric.type == "LargestDifference":
        if pairs.largest is None:
            words = "The responses have no numbers in the same places: use type Disagreement."
            return _inconclusive(metric, words + example, pairs.compared)
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


def _query(metric: AnalysisMetric, evidence: Evidence) -> Measurement:
    """Evaluate a query result.

    The user's query has computed the number, so there is no statistical test.
    """
    answer = evidence.answers.get(metric.name)
    if answer is None or answer.target is None:
        return _inconclusive(metric, (answer.trouble if answer else None) or "The query has no result yet.")
    limits = [metric.limit] if metric.limit is not None else []
    if metric.ratio is not None:
        if answer.stable is None:
            return _inconclusive(metric, answer.trouble or "The query has no result for stable.")
        limits.append(metric.ratio * answer.stable)
    limit = min(limits)
    compared = (
        f", and {number(answer.stable)} for stable" if metric.ratio is not None and answer.stable is not None else ""
    )
    return Measurement(
        metric.name,
        Outcome.PASSED if answer.target <= limit else Outcome.FAILED,
        answer.target,
        answer.stable,
        limit,
        message=f"The query result is {number(answer.target)}{compared}. The limit is {number(limit)}.",
    )
