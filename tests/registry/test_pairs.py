"""The comparison of two real scoring servers that get the same requests.

Both run on loopback, and the operator compares their predictions.
"""

from __future__ import annotations

import asyncio

import httpx
import pytest
from sluicegate.adapters.pods.http import PodHttp
from sluicegate.adapters.pods.recent_predictions import Pod, PredictionReader, PredictionsUnavailable
from sluicegate.api.rollout import AnalysisMetric, AnalysisSpec
from sluicegate.core.analysis.evaluation import evaluate
from sluicegate.core.analysis.measurement_data import MeasurementData, Pairs
from sluicegate.core.analysis.run import AnalysisRun
from sluicegate.core.snapshot.analysis_result import Outcome
from sluicegate.core.snapshot.facts import PodFacts
from sluicegate.runtime.analysis.pair_reader import PodPairs

pytestmark = pytest.mark.timeout(900)
"""The tests start four processes that import MLflow, on a machine that may be busy."""
KEY = ("shop", "pricing")
SHARE = AnalysisMetric(name="share", type="Disagreement", limit=0.01, tolerance=0.1, min_samples=20)
SIZE = AnalysisMetric(name="size", type="LargestDifference", limit=0.4, min_samples=20)


class Here:
    """A comparison of two pods, and a gateway that mirrors each request with its ID."""

    def __init__(self, stable: PodFacts, candidate: PodFacts) -> None:
        self.pods = {"s": [stable], "t": [candidate]}
        self.http = PodHttp()
        run = AnalysisRun(KEY, "t", "s", "2026-11-28T00:00:00Z", AnalysisSpec(metrics=(SHARE, SIZE)))
        self.pairs = PodPairs(run, lambda _, revision: self.pods[revision], PredictionReader(self.http))
        self.sent = 0

    async def send(self, count: int, same_id: bool = True) -> None:
        """Send requests to stable, and a copy of each to the candidate."""
        async with httpx.AsyncClient(timeout=30) as client:
            for _ in range(count):
                self.sent += 1
                body = {"dataframe_split": {"columns": ["a"], "data": [[self.sent % 7]]}}
                for side, pods in self.pods.items():
                    headers = {"x-request-id": f"{self.sent}{'' if same_id else side}"}
                    answer = await client.post(f"http://{pods[0].address}/invocations", json=body, headers=headers)
                    assert answer.status_code == 200
                # Pods keep every response below a certain rate. The test stays below it, so that each response counts.
                await asyncio.sleep(0.04)

    async def read(self) -> Pairs:
        found = await self.pairs.read()
        assert isinstance(found, Pairs), found
        return found


async def test_a_version_that_answers_the_same_passes(pods: dict[str, PodFacts]) -> None:
    here = Here(pods["stable"], pods["same"])
    await here.pairs.begin()
    await here.send(30)
    first = await here.read()
    await here.send(10)
    found = await here.read()
    assert (first.compared, found.compared, found.differing, found.unlike) == (30, 40, 0, 0)
    assert [evaluate(each, MeasurementData(pairs=found)).outcome for each in (SHARE, SIZE)] == [Outcome.PASSED] * 2
    await here.http.aclose()


async def test_a_version_that_answers_otherwise_fails_with_the_figures(pods: dict[str, PodFacts]) -> None:
    here = Here(pods["stable"], pods["other"])
    await here.pairs.begin()
    await here.send(40)
    found = await here.read()
    assert (found.compared, found.differing, found.unlike) == (40, 40, 0)
    assert found.largest == pytest.approx(0.5)
    share, size = (evaluate(each, MeasurementData(pairs=found)) for each in (SHARE, SIZE))
    assert (share.outcome, share.value) == (Outcome.FAILED, 1.0)
    assert size.outcome is Outcome.FAILED and size.value == pytest.approx(0.5)
    assert "At predictions[0], the candidate returned" in size.message
    await here.http.aclose()


async def test_what_was_answered_before_the_step_is_not_compared(pods: dict[str, PodFacts]) -> None:
    before, here = Here(pods["stable"], pods["other"]), Here(pods["stable"], pods["other"])
    await before.pairs.begin()
    await before.send(5)
    await asyncio.sleep(0.01)
    await here.pairs.begin()
    assert isinstance(await here.pairs.read(), str)
    here.sent = 1000
    await here.send(3)
    assert (await here.read()).compared == 3
    assert (await before.read()).compared == 8
    await before.http.aclose()
    await here.http.aclose()


async def test_a_gateway_that_changes_the_id_gives_no_pairs_and_that_is_said(pods: dict[str, PodFacts]) -> None:
    here = Here(pods["stable"], pods["other"])
    await here.pairs.begin()
    await here.send(100, same_id=False)
    found = await here.pairs.read()
    assert isinstance(found, str) and "sends copies with another x-request-id" in found
    assert evaluate(SHARE, MeasurementData(pairs_problem=found)).outcome is Outcome.INCONCLUSIVE
    await here.http.aclose()


async def test_a_pod_of_another_uid_tells_nothing(pods: dict[str, PodFacts]) -> None:
    http = PodHttp()
    reader = PredictionReader(http)
    pod = pods["stable"]
    with pytest.raises(PredictionsUnavailable, match="does not report its predictions"):
        await reader.read(Pod(pod.name, pod.address, "guessed"), "", 60.0, 10.0)
    with pytest.raises(PredictionsUnavailable, match=r"cannot be read at 127\.0\.0\.1:9"):
        await reader.read(Pod(pod.name, "127.0.0.1:9", "stable"), "", 60.0, 10.0)
    await http.aclose()
