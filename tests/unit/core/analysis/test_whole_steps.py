"""Whole steps with random failures, one measurement after another.

Good versions must pass, and bad ones must fail. The seeds are fixed, so each run has the same result. Decision 0016
states the rates.
"""

import random
from typing import Any

import msgspec
import pytest
from sluicegate.api.rollout import AnalysisMetric
from sluicegate.core.analysis.aggregate import Streaks, concluded, streaks
from sluicegate.core.analysis.counters import LATENCY, REQUESTS, Ledger, PodCounts
from sluicegate.core.analysis.evaluation import evaluate
from sluicegate.core.analysis.measurement_data import MeasurementData
from sluicegate.core.snapshot.analysis_result import Outcome

BOUNDS = (0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, float("inf"))
METRICS = [
    {"name": "errors", "type": "ErrorRate", "limit": 0.02, "ratio": 2},
    {"name": "slow", "type": "LatencyP95", "limit": 0.4, "ratio": 1.5},
]


class Pod:
    """A pod whose requests fail at random."""

    def __init__(self, rolls: random.Random, errors: float, seconds: float) -> None:
        self._rolls, self._errors, self._seconds = rolls, errors, seconds
        self.counts = {(REQUESTS, ""): 0.0, (REQUESTS, "model"): 0.0} | {
            (LATENCY, repr(bound)): 0.0 for bound in BOUNDS
        }

    def serve(self, requests: int) -> PodCounts:
        for _ in range(requests):
            self.counts[REQUESTS, "model" if self._rolls.random() < self._errors else ""] += 1
            took = self._seconds * self._rolls.lognormvariate(0, 0.5)
            for bound in BOUNDS:
                self.counts[LATENCY, repr(bound)] += took <= bound
        return PodCounts(dict(self.counts), 1.0)


def step(seed: int, errors: float, seconds: float, requests: int = 40, looks: int = 20) -> list[Outcome]:
    """Return the outcomes of a step, one for each measurement.

    The candidate gets `requests` per interval, and stable three times as many.
    """
    rolls = random.Random(seed)
    kinds: list[AnalysisMetric] = [msgspec.convert(metric, AnalysisMetric) for metric in METRICS]
    candidate, stable = Pod(rolls, errors, seconds), Pod(rolls, 0.005, 0.1)
    mine, theirs = Ledger(60), Ledger(60)
    failed: Streaks = {}
    outcomes = []
    for look in range(looks + 1):
        mine.look(15.0 * look, {"new": candidate.serve(requests if look else 0)})
        theirs.look(15.0 * look, {"old": stable.serve(3 * requests if look else 0)})
        measured = [evaluate(kind, MeasurementData(mine.side, theirs.side)) for kind in kinds]
        failed = streaks(failed, measured)
        outcomes.append(concluded(failed, measured, 2)[0])
    return outcomes


def test_versions_as_good_as_stable_never_fail_and_pass() -> None:
    steps = [step(seed, errors=0.005, seconds=0.1) for seed in range(40)]
    assert not [outcomes for outcomes in steps if Outcome.FAILED in outcomes]
    # Some steps stay open for longer, because a ratio of rare failures needs more requests.
    assert sum(Outcome.PASSED in outcomes[10:] for outcomes in steps) >= 38


@pytest.mark.parametrize(
    "worse", [{"errors": 0.08, "seconds": 0.1}, {"errors": 0.005, "seconds": 0.35}], ids=["errs", "slow"]
)
def test_worse_versions_fail_and_never_pass_for_long(worse: dict[str, Any]) -> None:
    for seed in range(15):
        outcomes = step(seed, **worse)
        assert Outcome.FAILED in outcomes
        first_failure = outcomes.index(Outcome.FAILED)
        assert outcomes[:first_failure].count(Outcome.PASSED) <= 1
