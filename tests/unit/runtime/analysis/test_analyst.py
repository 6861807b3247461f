"""The analyst in virtual time, over pods whose counters the test sets.

One test uses real sockets.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from sluicegate.adapters.pods.http import PodHttp
from sluicegate.adapters.pods.metrics import PodScraper
from sluicegate.adapters.prometheus import Prometheus
from sluicegate.config.settings import build
from sluicegate.core.analysis.measurement_data import Pairs
from sluicegate.core.snapshot.analysis_result import Outcome
from sluicegate.core.snapshot.facts import PodFacts
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.analysis.analyst import Analyst, Sources
from sluicegate.runtime.analysis.prometheus_resolver import PrometheusResolver
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.resources import Resources

from tests.support.counted_pods import ERRORS, FAILED, OPEN, PASSED, Here, Pod, live
from tests.support.loopback import serving


def test_a_good_version_passes_and_wakes_once() -> None:
    async def life(here: Here) -> None:
        here.add(metrics=[ERRORS, {"name": "p95", "type": "LatencyP95", "limit": 0.1, "ratio": 1.2}])
        await asyncio.sleep(600)
        reading = here.reading()
        assert (reading.outcome, reading.decisive) == (PASSED, None)
        assert (reading.revision, reading.since) == ("new", here.since(0))
        assert [measurement.outcome for measurement in reading.measurements] == [PASSED, PASSED]

    assert live(life).woken == {"churn": 1}


def test_nothing_is_said_before_the_warm_up_and_what_it_had_is_not_counted() -> None:
    async def life(here: Here) -> None:
        here.pods["new-1"].errors = 1.0
        here.add(warmUp="60s")
        await asyncio.sleep(55)
        assert here.analyst.reading(("ns", "churn")) is None
        here.pods["new-1"].errors = 0.0
        await asyncio.sleep(35)
        assert here.reading().outcome is PASSED

    live(life)


def test_a_bad_version_fails_by_two_failures_in_a_row() -> None:
    async def life(here: Here) -> None:
        here.pods["new-1"].errors = 0.4
        here.add()
        await asyncio.sleep(34)
        first = here.reading()
        assert first.outcome is OPEN
        assert first.decisive is not None
        assert first.decisive.outcome is FAILED
        await asyncio.sleep(17)
        assert here.reading().outcome is FAILED
        assert here.reading().decisive is not None

    assert live(life).woken == {"churn": 2}


def test_the_window_fails_a_version_that_gets_worse_later() -> None:
    async def life(here: Here) -> None:
        here.add()
        await asyncio.sleep(3600)
        assert here.reading().outcome is PASSED
        here.pods["new-1"].errors = 0.5
        await asyncio.sleep(60)
        assert here.reading().outcome is FAILED

    live(life)


def test_no_requests_hold() -> None:
    async def life(here: Here) -> None:
        here.pods["new-1"].rate = 0
        here.add()
        await asyncio.sleep(600)
        assert here.reading().outcome is OPEN
        assert "fewer than the 100 requests" in here.reading().measurements[0].message

    assert live(life).woken == {"churn": 1}


def test_modest_traffic_passes_in_time() -> None:
    async def life(here: Here) -> None:
        here.pods["new-1"].rate = 0.5
        here.add()
        await asyncio.sleep(60)
        assert here.reading().outcome is OPEN
        await asyncio.sleep(200)
        assert here.reading().outcome is PASSED

    live(life)


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        ({"answers": False}, "no response within 5 s"),
        (
            {"refuses": True},
            "Pod new-1 cannot be read at new-1.churn:8080: the connection was refused. Let the operator",
        ),
        ({"status": 500}, "returned 500"),
        ({"status": 404}, "Only the runtime mlflow has them"),
        ({"ready": False}, "no ready pod"),
    ],
)
def test_pods_that_cannot_be_read_hold_and_never_pass(breaks: dict[str, Any], says: str) -> None:
    async def life(here: Here) -> None:
        here.add()
        await asyncio.sleep(120)
        assert here.reading().outcome is PASSED
        for name, value in breaks.items():
            setattr(here.pods["new-1"], name, value)
        await asyncio.sleep(60)
        decisive = here.reading().decisive
        assert here.reading().outcome is OPEN
        assert decisive is not None
        assert says in decisive.message

    live(life)


def test_one_silent_pod_of_several_holds_too() -> None:
    async def life(here: Here) -> None:
        here.pods["new-2"] = Pod("new", answers=False)
        here.add()
        await asyncio.sleep(120)
        assert here.reading().outcome is OPEN
        here.pods["new-2"].answers = True
        await asyncio.sleep(60)
        assert here.reading().outcome is PASSED
        here.pods["old-1"].answers = False
        await asyncio.sleep(60)
        assert here.reading().outcome is PASSED

    live(life)


def test_a_step_is_not_judged_by_the_one_before() -> None:
    async def life(here: Here) -> None:
        here.add()
        await asyncio.sleep(120)
        old = here.reading()
        here.step()
        await asyncio.sleep(2)
        assert here.analyst.reading(("ns", "churn")) is None
        await asyncio.sleep(60)
        assert here.reading().since != old.since

    live(life)


def test_what_is_over_is_forgotten_with_its_series() -> None:
    async def life(here: Here) -> None:
        metrics = Metrics()
        metrics.watch_analyses(here.analyst.states)
        here.add(metrics=[{**ERRORS, "ratio": 2}])
        await asyncio.sleep(120)
        shown = samples(metrics.registry)
        key = ("churn", "ns")
        assert shown["sluicegate_analysis_value", *key, "errors", "candidate"] == 0
        assert shown["sluicegate_analysis_value", *key, "errors", "stable"] == 0
        assert shown["sluicegate_analysis_outcome", *key, "errors", "Passed"] == 1
        assert shown["sluicegate_analysis_samples", *key, "errors"] > 500
        assert shown["sluicegate_analysis_limit", *key, "errors"] == pytest.approx(0, abs=0.002)
        assert shown["sluicegate_rollout_requests_share", *key, "new"] == pytest.approx(100 * 20 / 420, abs=0.5)
        here.step(phase="RolledBack")
        await asyncio.sleep(2)
        assert here.analyst.reading(("ns", "churn")) is None
        assert not samples(metrics.registry)

    live(life)


def samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items(), key=_place))): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.startswith(("sluicegate_analysis", "sluicegate_rollout"))
    }


def _place(label: tuple[str, str]) -> tuple[int, str]:
    order = ["name", "namespace", "metric"]
    return (order.index(label[0]) if label[0] in order else 9, label[0])


def test_five_hundred_rollouts_are_read_once_an_interval_a_bounded_number_at_a_time() -> None:
    async def life(here: Here) -> None:
        here.pods = {"new-1": Pod("new"), "old-1": Pod("old")}
        for number in range(500):
            here.add(f"r{number}")
        await asyncio.sleep(15 + 150)
        assert all(here.reading(f"r{number}").outcome is PASSED for number in range(500))

    here = live(life)
    assert 1000 * 9 <= here.read.total() <= 1000 * 12.5
    assert here.busiest <= 64
    assert here.woken.total() == 500


class Mirrored:
    """Pairs of predictions that the test defines."""

    def __init__(self, found: Pairs | str) -> None:
        self.found = found

    async def begin(self) -> None:
        pass

    async def read(self) -> Pairs | str:
        return self.found


@pytest.mark.parametrize(
    ("found", "outcome"),
    [(Pairs(500, 0, 0.0), PASSED), (Pairs(500, 200, 9.0), FAILED), ("The pods keep no answers.", OPEN)],
)
def test_pairs_come_from_whoever_makes_them(found: Pairs | str, outcome: Outcome) -> None:
    async def life(here: Here) -> None:
        here.add(metrics=[{"name": "same", "type": "Disagreement", "limit": 0.01}])
        await asyncio.sleep(60)
        assert here.reading().outcome is outcome

    live(life, pairs=lambda _: Mirrored(found))


def test_an_unexpected_error_holds_that_rollout_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Mirrored):
        async def read(self) -> Pairs | str:
            raise RuntimeError("oops")

    async def life(here: Here) -> None:
        here.add("broken", metrics=[{"name": "same", "type": "Disagreement", "limit": 0.01}])
        here.add("fine")
        await asyncio.sleep(60)
        reading = here.reading("broken")
        assert reading.outcome is OPEN
        assert "unexpected RuntimeError" in reading.measurements[0].message
        assert here.reading("fine").outcome is PASSED

    live(life, pairs=lambda _: Broken(""))
    assert "the analysis of ns/broken: unexpected RuntimeError" in caplog.text


async def test_over_real_sockets() -> None:
    """Check the analyst over pods on loopback.

    One version fails. The outcome may take any number of measurements.
    """
    served = Counter[str]()
    news = asyncio.Event()

    def pod(name: str, errors: float) -> Any:
        async def handle(request: web.Request) -> web.Response:
            assert request.path == "/metrics"
            served[name] += 1
            return web.Response(text=Pod(name, served=400 * served[name], failed=400 * served[name] * errors).text())

        return handle

    async with serving(pod("new", 0.2)) as new, serving(pod("old", 0.01)) as old:
        where = {"new": new, "old": old}
        resources, http, prometheus = Resources(lambda _: None), PodHttp(), Prometheus()

        def pods(_: tuple[str, str], revision: str) -> list[PodFacts]:
            return [PodFacts(revision, revision, True, False, address=where[revision])]

        sources = Sources(
            pods, PodScraper(http), PrometheusResolver(cast(KubeClient, None), build([]), prometheus), cast(Any, None)
        )
        analyst = Analyst(resources, sources, lambda _: news.set(), lambda: datetime.now(UTC))
        raw = {
            "metadata": {"name": "churn", "namespace": "ns", "uid": "1", "resourceVersion": "1"},
            "spec": {
                "model": {"uri": "models:/a/1"},
                "rollout": {
                    "analysis": {
                        "interval": "1s",
                        "warmUp": "0s",
                        "metrics": [{"name": "errors", "type": "ErrorRate", "ratio": 2}],
                    }
                },
            },
            "status": {
                "rollout": {"phase": "Holding", "candidate": "new", "acceptedAt": "2026-03-01T12:00:00Z"},
                "revisions": [
                    {
                        "name": "a",
                        "revision": "old",
                        "role": "Stable",
                        "weight": 50,
                        "replicas": 1,
                        "readyReplicas": 1,
                    }
                ],
            },
        }
        resources.streamed(raw, deleted=False)
        task = asyncio.ensure_future(analyst.run())
        while (reading := analyst.reading(("ns", "churn"))) is None or reading.outcome is not FAILED:
            await asyncio.wait_for(news.wait(), 60)
            news.clear()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(http.aclose(), prometheus.aclose())
    measured = reading.measurements[0]
    assert measured.value == pytest.approx(0.2)
    assert measured.stable == pytest.approx(0.01)
