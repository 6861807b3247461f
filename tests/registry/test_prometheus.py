"""Analysis by a real Prometheus server that scrapes two real scoring servers.

The Prometheus server requires TLS and a password.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from typing import cast

import httpx
import pytest
from sluicegate.adapters.mlflow.credentials import Credentials
from sluicegate.adapters.prometheus import Prometheus, PrometheusEndpoint, PrometheusError
from sluicegate.api.rollout import AnalysisMetric, AnalysisSource, AnalysisSpec
from sluicegate.config.settings import build
from sluicegate.core.analysis.evaluation import evaluate
from sluicegate.core.analysis.run import AnalysisRun
from sluicegate.core.snapshot.analysis_result import Outcome
from sluicegate.core.snapshot.facts import PodFacts
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.analysis.prometheus_resolver import PrometheusResolver
from sluicegate.runtime.analysis.readers import PrometheusReader, QueryReader

from tests.registry.conftest import free_port
from tests.support.certificate import self_signed

pytestmark = pytest.mark.timeout(900)
PASSWORD = "only a test"
BCRYPT = "$2b$04$abcdefghijklmnopqrstuuAdXwmky2doClZgO.6fQTGLUPynohmMG"
"""The bcrypt hash of PASSWORD, with the lowest cost that bcrypt allows."""
ERRORS = AnalysisMetric(name="errors", type="ErrorRate", error_classes=("client",), limit=0.05, min_samples=20)
SLOW = AnalysisMetric(name="slow", type="LatencyP95", limit=30, min_samples=20)
QUERY = AnalysisMetric(
    name="rate",
    type="Query",
    query='sum(rate(sluicegate_scorer_requests_total{namespace="{{namespace}}",pod="pod-{{revision}}"}[{{window}}]))',
    limit=1e6,
)
SPEC = AnalysisSpec(window="1m", source=AnalysisSource(type="Prometheus", timeout="20s"), metrics=(ERRORS, SLOW, QUERY))
RUN = AnalysisRun(("shop", "pricing"), "other", "stable", "2026-11-28T00:00:00Z", SPEC)


@pytest.fixture(scope="module")
def served(
    prometheus_program: str, pods: dict[str, PodFacts], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusEndpoint]:
    """Run the server, configured as a PodMonitor configures it for both pods."""
    folder = tmp_path_factory.mktemp("prometheus")
    key, certificate = self_signed(folder)
    targets = [
        {"targets": [pods[uid].address], "labels": {"namespace": "shop", "pod": pods[uid].name}}
        for uid in ("stable", "other")
    ]
    scrape = {"job_name": "scoring", "scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": targets}
    web = {
        "tls_server_config": {"cert_file": str(certificate), "key_file": str(key)},
        "basic_auth_users": {"me": BCRYPT},
    }
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
    (folder / "web.yml").write_text(json.dumps(web))
    address = f"127.0.0.1:{free_port()}"
    options = {
        "config.file": folder / "prometheus.yml",
        "web.config.file": folder / "web.yml",
        "web.listen-address": address,
        "storage.tsdb.path": folder / "data",
    }
    log = folder / "prometheus.log"
    with log.open("wb") as out:
        command = [prometheus_program, *(f"--{name}={value}" for name, value in options.items())]
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder)
    try:
        until = time.monotonic() + 120
        with httpx.Client(verify=ssl.create_default_context(cafile=certificate), auth=("me", PASSWORD)) as client:
            while not _ready(client, address):
                assert process.poll() is None and time.monotonic() < until, log.read_text()[-4000:]
                time.sleep(0.2)
        yield PrometheusEndpoint(f"https://{address}", Credentials("me", PASSWORD, ca_pem=certificate.read_text()))
    finally:
        process.terminate()
        process.wait(30)


def _ready(client: httpx.Client, address: str) -> bool:
    try:
        return client.get(f"https://{address}/-/ready").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
async def prometheus() -> AsyncIterator[Prometheus]:
    made = Prometheus()
    yield made
    await made.aclose()


class Named(PrometheusResolver):
    """The platform team's Prometheus server, without a cluster that holds its Secret."""

    def __init__(self, prometheus: Prometheus, endpoint: PrometheusEndpoint) -> None:
        super().__init__(cast(KubeClient, None), build([]), prometheus)
        self._endpoint = endpoint

    async def endpoint(self, run: AnalysisRun) -> PrometheusEndpoint:
        return self._endpoint


async def send(pod: PodFacts, count: int, bad: int) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        for number in range(count):
            body = {"dataframe_split": {"columns": ["a"], "data": [["x" if number < bad else 1.0]]}}
            answer = await client.post(f"http://{pod.address}/invocations", json=body)
            assert answer.status_code == (400 if number < bad else 200)


async def test_the_pods_counters_by_way_of_prometheus_decide(
    served: PrometheusEndpoint, prometheus: Prometheus, pods: dict[str, PodFacts]
) -> None:
    servers = Named(prometheus, served)
    for uid in ("stable", "other"):  # A new counter counts from the first time that Prometheus scrapes it.
        await send(pods[uid], 2, 1)
        await _scraped(servers, pods[uid].name, 2)
    began = time.monotonic()
    await send(pods["stable"], 100, 0)
    await send(pods["other"], 100, 40)
    for uid in ("stable", "other"):
        await _scraped(servers, pods[uid].name, 102)
    reader = PrometheusReader(RUN, lambda _, revision: [pods[revision]], servers)
    data = await reader.read(time.monotonic() - began + 5)
    assert (data.problem, data.stable_problem) == (None, None)
    errors, slow = evaluate(ERRORS, data), evaluate(SLOW, data)
    assert errors.outcome is Outcome.FAILED and errors.value is not None
    assert 0.3 <= errors.value <= 0.5, errors.message
    assert slow.outcome is Outcome.PASSED, slow.message
    results = await QueryReader(RUN, servers).read(time.monotonic() - began + 5)
    assert results["rate"].problem is None and 0 < (results["rate"].candidate or 0) < 1000


async def _scraped(servers: PrometheusResolver, pod: str, count: int) -> None:
    """Wait until Prometheus has scraped that many requests of a pod.

    Then wait for one more scrape.
    """
    query = f'sum(sluicegate_scorer_requests_total{{pod="{pod}"}}) or vector(0)'
    deadline = time.monotonic() + 60
    while await servers.number(RUN, query) < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    await asyncio.sleep(2.5)


@pytest.mark.parametrize(
    ("promql", "says"),
    [
        ("nothing_of_the_kind", "has no result"),
        ("up", "returned 2 series"),
        ("sum(up", "rejected the query: .*parse error"),
        ("up[1m]", "returned a matrix"),
        ("0/0", "returned nan"),
        ('sum(up{pod="' + "x" * 3000 + '"})', "has no result"),
    ],
    ids=["empty", "several", "syntax", "matrix", "nan", "long"],
)
async def test_what_it_says_of_queries(
    served: PrometheusEndpoint, prometheus: Prometheus, promql: str, says: str
) -> None:
    with pytest.raises(PrometheusError, match=says):
        await prometheus.number(served, promql, 20)


async def test_who_is_not_let_in(served: PrometheusEndpoint, prometheus: Prometheus) -> None:
    assert await prometheus.number(served, "vector(7)", 20) == 7
    ca = served.credentials.ca_pem
    for credentials, says in (
        (Credentials("me", "something else", ca_pem=ca), r"refused the credentials \(401\)"),
        (Credentials(ca_pem=ca), r"requires credentials|refused the credentials"),
        (Credentials("me", PASSWORD), r"Put the certificate of its CA into the key ca\.crt"),
    ):
        with pytest.raises(PrometheusError, match=says) as refused:
            await prometheus.number(PrometheusEndpoint(served.address, credentials), "vector(7)", 20)
        assert PASSWORD not in str(refused.value)
