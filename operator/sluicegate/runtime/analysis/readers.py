"""The readers of an analysis, which measure pods directly or query Prometheus.

The analyst creates a reader for each step of a rollout, and calls it once an interval. A reader reports what it cannot
read as part of its result. It does not raise, and no metric passes because data is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from sluicegate.adapters.pods.exposition import PROFILE_BIN, REQUESTS_TOTAL, SECONDS_BUCKET, of_labels
from sluicegate.adapters.pods.metrics import CountersUnavailable, PodScraper
from sluicegate.adapters.prometheus import PrometheusError
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import Key
from sluicegate.core.analysis import counters
from sluicegate.core.analysis.counters import Counts, Ledger, PodCounts, Series, Side
from sluicegate.core.analysis.measurement_data import MeasurementData, Pairs, QueryResult
from sluicegate.core.analysis.run import AnalysisRun, filled
from sluicegate.core.snapshot.facts import PodFacts
from sluicegate.runtime.analysis.prometheus_resolver import PrometheusResolver

Pods = Callable[[Key, RevisionHash], Sequence[PodFacts]]
"""Returns the pods of a revision of a resource, including terminating ones."""


class Reader(Protocol):
    """Reads the counters of both revisions of one step."""

    async def begin(self) -> None:
        """Start measuring. Called once, after the step's warm-up."""

    async def read(self, elapsed: float) -> MeasurementData:
        """Return the counts since `begin`.

        Args:
            elapsed: Seconds since `begin`.
        """


class PairReader(Protocol):
    """Reads the predictions of both revisions for the same requests."""

    async def begin(self) -> None:
        """Start measuring. Called once, after the step's warm-up."""

    async def read(self) -> Pairs | str:
        """Return all pairs since `begin`, or a message about why there are none."""


def alive(pods: Sequence[PodFacts]) -> list[PodFacts]:
    """Return the pods that may receive requests now."""
    return [pod for pod in pods if pod.ready and not pod.deleting and pod.address]


class PodReader:
    """Adds up the counters that it scrapes from the pods."""

    def __init__(self, run: AnalysisRun, pods: Pods, scraper: PodScraper) -> None:
        """Create a reader, which reads nothing before `begin`.

        Args:
            run: The step.
            pods: Returns the pods of a revision.
            scraper: Scrapes the counters of a pod.
        """
        self._run = run
        self._pods = pods
        self._scraper = scraper
        self._sides = {
            revision: Ledger(run.window)
            for revision in (run.candidate, run.stable)
            if revision is not None and run.counted
        }

    async def begin(self) -> None:
        """Record the current values of the counters."""
        await self.read(0.0)

    async def read(self, elapsed: float) -> MeasurementData:
        """Read the counters of every pod that may receive requests."""
        del elapsed
        run = self._run
        reads = await asyncio.gather(*(self._read_pods(revision) for revision in self._sides))
        results = dict(zip(self._sides, reads, strict=True))
        errors, responses = results.get(run.candidate, ([], 0))
        stable_errors, stable_responses = results.get(run.stable, ([], 0)) if run.stable is not None else ([], 0)
        data = MeasurementData(candidate=self._side(run.candidate), stable=self._side(run.stable))
        if not responses:
            message = errors[0] if errors else "The candidate has no ready pod to read."
            return replace(data, problem=message)
        if not stable_responses:
            message = stable_errors[0] if stable_errors else "The stable revision has no ready pod to compare with."
            data = replace(data, stable_problem=message)
        return replace(data, unread_pods=errors[0] if errors else None)

    def _side(self, revision: RevisionHash | None) -> Side:
        ledger = self._sides.get(revision) if revision is not None else None
        return ledger.side if ledger is not None else Side()

    async def _read_pods(self, revision: RevisionHash) -> tuple[list[str], int]:
        """Read the pods of one revision.

        Returns:
            The errors, and the number of pods that responded.
        """
        pods = self._pods(self._run.key, revision)
        results = await asyncio.gather(*(self._scrape(pod) for pod in alive(pods)))
        counts = {name: result for name, result in results if isinstance(result, PodCounts)}
        ledger = self._sides[revision]
        ledger.look(asyncio.get_running_loop().time(), counts)
        ledger.forget(pod.name for pod in pods)
        return [result for _, result in results if isinstance(result, str)], len(counts)

    async def _scrape(self, pod: PodFacts) -> tuple[str, PodCounts | str]:
        run = self._run
        try:
            return pod.name, await self._scraper.scrape(pod.name, pod.address, run.kinds, run.timeout)
        except CountersUnavailable as error:
            return pod.name, str(error)


class PrometheusReader:
    """Queries Prometheus for the sums of the counters that it scraped from the pods."""

    def __init__(self, run: AnalysisRun, pods: Pods, servers: PrometheusResolver) -> None:
        """Create a reader, which queries nothing before `read`.

        Args:
            run: The step.
            pods: Returns the pods of a revision.
            servers: Queries the Prometheus server of the step.
        """
        self._run = run
        self._pods = pods
        self._servers = servers

    async def begin(self) -> None:
        """Do nothing, because Prometheus stores the earlier values."""

    async def read(self, elapsed: float) -> MeasurementData:
        """Query the increase of the pods' counters."""
        run = self._run
        spans = [elapsed] if elapsed <= run.window else [run.window, elapsed]
        try:
            increases = [await self._increase(span) for span in spans]
        except PrometheusError as error:
            return MeasurementData(problem=str(error))
        recent, step = increases[0], increases[-1]
        candidate, stable = (
            Side(recent.get(revision, {}), step.get(revision, {})) if revision is not None else Side()
            for revision in (run.candidate, run.stable)
        )
        missing = (
            "Prometheus has no sluicegate_scorer_requests_total of {} pods. Scrape them with a PodMonitor, "
            "with the labels namespace and pod, at least twice in the window."
        )
        return MeasurementData(
            candidate=candidate,
            stable=stable,
            problem=None if candidate.step else missing.format("the candidate's"),
            stable_problem=None if stable.step else missing.format("the stable revision's"),
        )

    async def _increase(self, span: float) -> Mapping[str, Counts]:
        """Return the increase of the counters in the last `span` seconds, by revision."""
        run = self._run
        revisions = {
            pod.name: revision
            for revision in (run.candidate, run.stable)
            if revision is not None
            for pod in self._pods(run.key, revision)
        }
        if not revisions:
            return {}
        increases: dict[str, dict[Series, float]] = {}
        selector = f'namespace="{run.key[0]}",pod=~"{"|".join(sorted(revisions))}"'
        for name, labels, filters in _families(run.kinds):
            promql = f"sum by (pod,{labels}) (increase({name}{{{selector}{filters}}}[{max(1, int(span))}s]))"
            for sample in await self._servers.query(run, promql):
                series = of_labels(name, dict(sample.labels))
                revision = revisions.get(sample.labels.get("pod", ""))
                if series is not None and revision is not None and sample.value >= 0:
                    side = increases.setdefault(revision, {})
                    side[series] = side.get(series, 0.0) + sample.value
        return increases


def _families(kinds: frozenset[str]) -> list[tuple[str, str, str]]:
    """Return (metric, labels, filters) of each counter of some kinds."""
    families = [(REQUESTS_TOTAL, "error_class", "")]
    if counters.LATENCY in kinds:
        families.append((SECONDS_BUCKET, "le", ""))
    families += [
        (PROFILE_BIN, "kind,name,bin", f',kind="{kind}"')
        for kind in (counters.FEATURE, counters.PREDICTION)
        if kind in kinds
    ]
    return families


class QueryReader:
    """Runs the queries of the analysis's metrics of type Query."""

    def __init__(self, run: AnalysisRun, servers: PrometheusResolver) -> None:
        """Create a reader, which queries nothing before `read`.

        Args:
            run: The step.
            servers: Queries the Prometheus server of the step.
        """
        self._run = run
        self._servers = servers

    async def read(self, elapsed: float) -> Mapping[str, QueryResult]:
        """Return the query results by metric.

        The window is limited so that `{{window}}` never includes time before the end of the warm-up.
        """
        results = {}
        for metric in self._run.queries:
            window = min(self._run.window, elapsed)
            candidate = await self._number(metric.query or "", self._run.candidate, window)
            stable: float | str | None = None
            if metric.ratio is not None and self._run.stable is not None:
                stable = await self._number(metric.query or "", self._run.stable, window)
            problem = next((value for value in (candidate, stable) if isinstance(value, str)), None)
            numbers = [value if isinstance(value, float) else None for value in (candidate, stable)]
            results[metric.name] = QueryResult(numbers[0], numbers[1], problem)
        return results

    async def _number(self, query: str, revision: RevisionHash, window: float) -> float | str:
        try:
            return await self._servers.number(self._run, filled(query, self._run, revision, window))
        except PrometheusError as error:
            return str(error)
