"""Scrapes of pods: the scoring server's own text, and other responses.

Anything may respond at a pod's address.
"""

import asyncio
import sys
from pathlib import Path

import pytest
from aiohttp import web
from sluicegate.adapters.pods.exposition import NotScoringServer, parse
from sluicegate.adapters.pods.http import PodHttp
from sluicegate.adapters.pods.metrics import CountersUnavailable, PodScraper
from sluicegate.core.analysis.counters import FEATURE, LATENCY, PREDICTION, REQUESTS, Histogram, failed, requests

from tests.support.loopback import serving

SCORER = Path(__file__).resolve().parents[4] / "scorer" / "sluicegate_scorer" / "server"
TEXT = """\
# HELP sluicegate_scorer_requests_total Requests.
# TYPE sluicegate_scorer_requests_total counter
sluicegate_scorer_requests_total{endpoint="invocations",code="200",error_class=""} 90
sluicegate_scorer_requests_total{endpoint="infer",code="200",error_class=""} 5
sluicegate_scorer_requests_total{endpoint="invocations",code="500",error_class="model"} 4
sluicegate_scorer_requests_total{endpoint="invocations",code="429",error_class="novelty"} 1
sluicegate_scorer_request_duration_seconds_bucket{le="0.1"} 60
sluicegate_scorer_request_duration_seconds_bucket{le="+Inf"} 100
sluicegate_scorer_request_duration_seconds_sum 12.5
sluicegate_scorer_profile_bin_total{kind="feature",name="a \\"b\\", c",bin="1.5"} 7
sluicegate_scorer_profile_bin_total{kind="prediction",name="prediction",bin="null"} 0
sluicegate_scorer_profile_reference_bin{kind="feature",name="a",bin="1.5"} 70
process_start_time_seconds 1700000000.5
"""


def test_what_is_read() -> None:
    found = parse(TEXT, [LATENCY, FEATURE, PREDICTION])
    assert requests(found.counts) == 100
    assert failed(found.counts, ["model"]) == 4
    assert Histogram.of(found.counts) == Histogram((0.1, float("inf")), (60, 100))
    assert found.counts[FEATURE, 'a "b", c', "1.5"] == 7
    assert found.counts[PREDICTION, "prediction", "null"] == 0
    assert found.started == 1700000000.5
    assert {count[0] for count in parse(TEXT, []).counts} == {REQUESTS}
    assert {count[0] for count in parse(TEXT, [PREDICTION]).counts} == {REQUESTS, PREDICTION}


@pytest.mark.parametrize("text", ["", "<html>", "up 1\n", "sluicegate_scorer_requests_total{", "\x00{}", "a{b=} 1\n"])
def test_what_is_not_ours(text: str) -> None:
    with pytest.raises(NotScoringServer):
        parse(text, [LATENCY])


def test_nonsense_between_good_lines_is_passed_over() -> None:
    junk = 'sluicegate_scorer_requests_total{error_class="x} 5\nsluicegate_scorer_requests_total{error_class="y"} NaN\n'
    found = parse(junk + 'sluicegate_scorer_requests_total{error_class=""} 5\n', [])
    assert requests(found.counts) == 5


def test_the_scoring_servers_own_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCORER.parents[1]))
    from sluicegate_scorer.server.metrics import Metrics

    try:
        metrics = Metrics()
        metrics.families.append(
            ("profile_bin_total", "counter", "x", lambda: [({"kind": "feature", "name": "a", "bin": "0.5"}, 3.0)])
        )
        metrics.request("invocations", 200, None, 0.04)
        metrics.request("infer", 500, "model", 0.4)
        found = parse(metrics.text().decode(), [LATENCY, FEATURE])
    finally:
        for name in [module for module in sys.modules if module.startswith("sluicegate_scorer")]:
            del sys.modules[name]
    assert (requests(found.counts), failed(found.counts, ["model"])) == (2, 1)
    histogram = Histogram.of(found.counts)
    assert (histogram.total, histogram.slower(0.1)) == (2, 1)
    assert max(high / low for low, high in zip(histogram.bounds, histogram.bounds[1:-1], strict=False)) <= 1.51
    assert found.counts[FEATURE, "a", "0.5"] == 3
    assert found.started > 0


async def _text(_: web.Request) -> web.Response:
    return web.Response(text=TEXT)


async def test_a_pod_is_read() -> None:
    http = PodHttp()
    scraper = PodScraper(http)
    async with serving(_text) as address:
        scrape = await scraper.scrape("churn-1", address, [LATENCY], 5)
    assert requests(scrape.counts) == 100
    await http.aclose()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (web.Response(status=404), "Only the runtime mlflow has them"),
        (web.Response(text="python_info 1\n"), "Use metrics of type Query"),
        (web.Response(status=302, headers={"Location": "http://169.254.169.254/"}), "returned 302"),
        (web.Response(status=503), "returned 503"),
        (web.Response(body=b"a" * 5_000_000), "more than 4 MiB"),
    ],
    ids=["404", "other", "redirect", "503", "endless"],
)
async def test_what_answers_otherwise(answer: web.Response, says: str) -> None:
    async def handle(_: web.Request) -> web.Response:
        return answer

    http = PodHttp()
    scraper = PodScraper(http)
    async with serving(handle) as address:
        with pytest.raises(CountersUnavailable, match=says) as error:
            await scraper.scrape("churn-1", address, [], 5)
    assert "churn-1" in str(error.value)
    await http.aclose()


async def test_a_pod_that_hangs_or_is_not_there() -> None:
    async def handle(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    http = PodHttp()
    scraper = PodScraper(http)
    async with serving(handle) as address:
        with pytest.raises(CountersUnavailable, match=r"no response within 0.2 s.*NetworkPolicy"):
            await scraper.scrape("churn-1", address, [], 0.2)
    refused = rf"Pod churn-1 cannot be read at {address}: the connection was refused\. .*service mesh"
    with pytest.raises(CountersUnavailable, match=refused):
        await scraper.scrape("churn-1", address, [], 5)
    await http.aclose()


async def test_a_pod_that_breaks_off() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(text=TEXT)

    http = PodHttp()
    scraper = PodScraper(http)
    async with serving(handle) as address:
        with pytest.raises(CountersUnavailable, match=r"the connection was (reset|closed without a response)\."):
            await scraper.scrape("churn-1", address, [], 5)
    await http.aclose()


async def test_what_is_no_address() -> None:
    http = PodHttp()
    scraper = PodScraper(http)
    with pytest.raises(CountersUnavailable, match="cannot be read"):
        await scraper.scrape("churn-1", "[::1:x", [], 5)
    await http.aclose()
