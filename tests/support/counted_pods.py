"""A cluster of pods with counters, a Prometheus server, and their analyst.

All of it runs in virtual time.
"""

import asyncio
import errno
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
from sluicegate.adapters.pods.http import PodHttp
from sluicegate.adapters.pods.metrics import PodScraper
from sluicegate.adapters.prometheus import Prometheus
from sluicegate.config.settings import Settings, build
from sluicegate.core.analysis.run import AnalysisRun
from sluicegate.core.snapshot.analysis_result import Outcome, Reading
from sluicegate.core.snapshot.facts import PodFacts
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.analysis.analyst import Analyst, Sources
from sluicegate.runtime.analysis.prometheus_resolver import PrometheusResolver
from sluicegate.runtime.resources import Resources

from tests.support import virtual_clock
from tests.support.transport import StreamingTransport

PASSED, FAILED, OPEN = Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE
START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ERRORS = {"name": "errors", "type": "ErrorRate", "limit": 0.05}
SETTINGS = build([("test", {"prometheus": {"address": "http://prometheus:9090"}})])


@dataclass
class Pod:
    """A pod of the scoring server."""

    revision: str
    rate: float = 20.0
    """Requests per second."""
    errors: float = 0.0
    """Share of the requests that fail."""
    seconds: float = 0.05
    ready: bool = True
    answers: bool = True
    refuses: bool = False
    """Refuse every connection, as a closed port does."""
    status: int = 200
    served: float = 1000.0
    failed: float = 0.0

    def later(self, seconds: float) -> None:
        self.served += self.rate * seconds
        self.failed += self.rate * seconds * self.errors

    def text(self) -> str:
        name = "sluicegate_scorer_requests_total"
        ok, bad = round(self.served - self.failed), round(self.failed)
        lines = [f'{name}{{error_class=""}} {ok}', f'{name}{{error_class="model"}} {bad}']
        for bound in (0.05, 0.1, 0.5, 1.0):
            count = ok + bad if self.seconds <= bound else 0
            lines.append(f'sluicegate_scorer_request_duration_seconds_bucket{{le="{bound}"}} {count}')
        lines.append(f'sluicegate_scorer_request_duration_seconds_bucket{{le="+Inf"}} {ok + bad}')
        return "\n".join(lines) + "\n"


@dataclass
class Here:
    """An analyst of some resources, and the pods that it reads."""

    settings: Settings = SETTINGS
    pods: dict[str, Pod] = field(default_factory=dict)
    prometheus: Callable[[str], Any] | None = None
    pairs: Callable[[AnalysisRun], Any] | None = None
    woken: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    busy: int = 0
    busiest: int = 0

    def __post_init__(self) -> None:
        self.resources = Resources(lambda _: None)
        self._versions = 0
        self._began = asyncio.get_running_loop().time()
        self._http = PodHttp(self._pod)
        self._prometheus = Prometheus(StreamingTransport(self._ask))
        servers = PrometheusResolver(cast(KubeClient, None), self.settings, self._prometheus)
        sources = Sources(self.facts, PodScraper(self._http), servers, self.pairs)
        self.analyst = Analyst(
            self.resources, sources, lambda key: self.woken.update([key[1]]), lambda: START + timedelta(seconds=self.at)
        )
        self._tasks = [asyncio.ensure_future(self.analyst.run()), asyncio.ensure_future(self._live())]

    @property
    def at(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(1)
            for pod in self.pods.values():
                pod.later(1)

    def facts(self, key: tuple[str, str], revision: str) -> Sequence[PodFacts]:
        return [
            PodFacts(name, pod.revision, pod.ready, False, address=f"{name}.{key[1]}:8080")
            for name, pod in self.pods.items()
            if pod.revision == revision
        ]

    async def _pod(self, url: str, _: Mapping[str, str]) -> tuple[int, bytes]:
        name = httpx.URL(url).host.partition(".")[0]
        self.read[name] += 1
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        await asyncio.sleep(0.05 if self.pods[name].answers else 3600)
        self.busy -= 1
        if self.pods[name].refuses:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")
        return self.pods[name].status, self.pods[name].text().encode()

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        assert self.prometheus is not None
        response = self.prometheus(request.url.params["query"])
        if isinstance(response, httpx.Response):
            return response
        result = [{"metric": labels, "value": [0, str(value)]} for labels, value in response]
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": result}})

    def add(self, name: str = "churn", metrics: Sequence[Any] = (ERRORS,), **analysis: Any) -> None:
        self._put(name, {"metrics": list(metrics), **analysis}, "Holding", 0)

    def step(self, name: str = "churn", metrics: Sequence[Any] = (ERRORS,), phase: str = "Holding") -> None:
        """Begin another step now."""
        self._put(name, {"metrics": list(metrics)}, phase, self.at)

    def _put(self, name: str, analysis: Any, phase: str, since: float) -> None:
        self._versions += 1
        rollout = {"phase": phase, "candidate": "new", "acceptedAt": self.since(since), "stepIndex": 0}
        revisions = [
            {"name": each, "revision": each, "role": role, "weight": 50, "replicas": 1, "readyReplicas": 1}
            for each, role in (("new", "Candidate"), ("old", "Stable"))
        ]
        metadata = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": str(self._versions)}
        steps = [{"weight": 50, "mirror": {"percent": 100}}]
        spec = {"model": {"uri": "models:/a/1"}, "rollout": {"steps": steps, "analysis": analysis}}
        status = {"rollout": rollout, "revisions": revisions}
        self.resources.streamed({"metadata": metadata, "spec": spec, "status": status}, deleted=False)

    def since(self, seconds: float) -> str:
        return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def reading(self, name: str = "churn") -> Reading:
        found = self.analyst.reading(("ns", name))
        assert found is not None
        return found

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()
        await self._prometheus.aclose()


def live(life: Callable[[Here], Any], **options: Any) -> Here:
    async def main() -> Here:
        here = Here(**options)
        here.pods = {"new-1": Pod("new"), "old-1": Pod("old", rate=200), "old-2": Pod("old", rate=200)}
        try:
            await life(here)
        finally:
            await here.stop()
        return here

    return virtual_clock.run(main())
