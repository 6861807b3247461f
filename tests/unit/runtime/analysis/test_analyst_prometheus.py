"""Analysis by a Prometheus server: its queries, and their results."""

import asyncio
from typing import Any

import httpx
import pytest
from sluicegate.config.settings import build

from tests.support.counted_pods import ERRORS, FAILED, OPEN, PASSED, Here, live


def counters(query: str) -> list[tuple[dict[str, str], float]]:
    name = "sluicegate_scorer_requests_total"
    if name not in query:
        return [
            ({"pod": pod, "le": bound}, value)
            for pod in ("new-1", "old-1")
            for bound, value in (("0.1", 900.0), ("+Inf", 1000.0))
        ]
    return [
        ({"pod": "new-1"}, 900.2),
        ({"pod": "new-1", "error_class": "model"}, 100.1),
        ({"pod": "old-1"}, 5000.0),
        ({"pod": "unknown", "error_class": "model"}, 5000.0),
    ]


def test_prometheus_as_the_source() -> None:
    asked: list[str] = []

    def answer(query: str) -> Any:
        asked.append(query)
        return counters(query)

    async def life(here: Here) -> None:
        slow = {"name": "slow", "type": "LatencyP95", "limit": 0.1}
        here.add(metrics=[ERRORS, slow], source={"type": "Prometheus", "address": "http://other:9090"})
        await asyncio.sleep(300)
        assert here.reading().outcome is FAILED
        assert [measurement.outcome for measurement in here.reading().measurements] == [FAILED, FAILED]
        assert here.reading().measurements[0].value == pytest.approx(0.1, abs=0.001)
        here.prometheus = lambda _: httpx.Response(503, text="busy")
        await asyncio.sleep(30)
        assert here.reading().outcome is OPEN
        here.prometheus = lambda _: []
        await asyncio.sleep(30)
        assert "Scrape them with a PodMonitor" in here.reading().measurements[0].message

    here = live(life, prometheus=answer)
    assert not here.read
    which = 'namespace="ns",pod=~"new-1|old-1|old-2"'
    assert f"sum by (pod,error_class) (increase(sluicegate_scorer_requests_total{{{which}}}[60s]))" in asked


def test_queries_ask_the_platforms_prometheus_and_never_look_behind_the_step() -> None:
    asked: list[str] = []

    def answer(query: str) -> Any:
        asked.append(query)
        return [({}, 5.0 if "old" in query else 7.0)]

    query = 'sum(rate(x{n="{{namespace}}",d="{{name}}",r="{{ revision }}"}[{{window}}]))'
    metric = {"name": "queue", "type": "Query", "query": query, "limit": 10, "ratio": 1.5}

    async def life(here: Here) -> None:
        here.add(metrics=[metric], window="5m")
        await asyncio.sleep(45)
        assert here.reading().outcome is PASSED
        assert here.reading().measurements[0].limit == 7.5
        await asyncio.sleep(600)

    live(life, prometheus=answer)
    assert asked[0].startswith('sum(rate(x{n="ns",d="churn",r="new"}[1')
    assert asked[-1] == 'sum(rate(x{n="ns",d="churn",r="old"}[300s]))'


def test_without_a_prometheus_it_says_so() -> None:
    async def life(here: Here) -> None:
        here.add(metrics=[{"name": "q", "type": "Query", "query": "up", "limit": 1}])
        await asyncio.sleep(60)
        assert here.reading().outcome is OPEN
        assert "prometheus.address" in here.reading().measurements[0].message

    live(life, settings=build([]))
