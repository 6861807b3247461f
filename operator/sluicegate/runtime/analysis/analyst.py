"""The analyst, which analyzes every step in progress, once an interval.

It enqueues the resources whose analysis result changes. Like the follower, it finds its work by going through the
resources. Its state is in memory only. After a restart, a step's measurements start again, and the rollout holds until
there are enough of them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from sluicegate.adapters.pods.metrics import PodScraper
from sluicegate.adapters.unexpected import unexpected_message
from sluicegate.api.resource import Key
from sluicegate.core.analysis import counters
from sluicegate.core.analysis.aggregate import Streaks, concluded, streaks
from sluicegate.core.analysis.evaluation import evaluate
from sluicegate.core.analysis.measurement_data import MeasurementData, Pairs, QueryResult
from sluicegate.core.analysis.run import AnalysisRun, AnalysisState, analysis_run
from sluicegate.core.snapshot.analysis_result import Reading
from sluicegate.core.snapshot.parse import time_of
from sluicegate.runtime.analysis.prometheus_resolver import PrometheusResolver
from sluicegate.runtime.analysis.readers import PairReader, PodReader, Pods, PrometheusReader, QueryReader, Reader
from sluicegate.runtime.resources import Resources
from sluicegate.runtime.supervise import contained, keep

logger = logging.getLogger(__name__)
T = TypeVar("T")

LOOK = 1.0
"""Seconds between two searches for steps that have started."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The metrics sources of analyses."""

    pods: Pods
    scraper: PodScraper
    servers: PrometheusResolver
    pairs: Callable[[AnalysisRun], PairReader]
    """Creates a reader that compares the predictions of the two revisions for the same requests."""


@dataclass(slots=True)
class _Analysis:
    run: AnalysisRun
    task: asyncio.Task[None] | None = None
    state: AnalysisState | None = None
    failed: Streaks = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Readers:
    counters: Reader
    queries: QueryReader
    pairs: PairReader | None


class Analyst:
    """Runs the analyses, see the module."""

    def __init__(
        self,
        resources: Resources,
        sources: Sources,
        wake: Callable[[Key], None],
        now: Callable[[], datetime],
    ) -> None:
        """Create an analyst, which measures nothing before `run`.

        Args:
            resources: All ModelDeployments.
            sources: The metrics sources.
            wake: Called with the key of a resource whose outcome, or the metric that decides it, has changed.
            now: Returns the current time.
        """
        self._resources = resources
        self._sources = sources
        self._wake = wake
        self._now = now
        self._analyses: dict[Key, _Analysis] = {}

    def reading(self, key: Key) -> Reading | None:
        """Return the analysis result of a resource's current step, or None.

        There is no result before the first interval ends, and after an unexpected exception.
        """
        analysis = self._analyses.get(key)
        return analysis.state.reading if analysis is not None and analysis.state is not None else None

    def states(self) -> Iterator[AnalysisState]:
        """Return the latest state of each running analysis.

        Another thread may call it.
        """
        return (analysis.state for analysis in list(self._analyses.values()) if analysis.state is not None)

    async def run(self) -> None:
        """Run analyses until cancelled."""
        async with asyncio.TaskGroup() as group:  # No child raises, see `keep`.
            while True:
                with contained("looking for steps to analyze"):
                    self._look(group)
                await asyncio.sleep(LOOK)

    def _look(self, group: asyncio.TaskGroup) -> None:
        """Start the analyses of new steps, and stop those of steps that have ended."""
        runs: dict[Key, AnalysisRun] = {}
        for resource in self._resources.items():
            with contained("the analysis of {}/{}".format(*resource.key)):
                if (run := analysis_run(resource)) is not None:
                    runs[resource.key] = run
        for key, analysis in list(self._analyses.items()):
            if runs.get(key) != analysis.run:
                del self._analyses[key]
                if analysis.task is not None:
                    analysis.task.cancel()
        for key, run in runs.items():
            if key not in self._analyses:
                analysis = self._analyses[key] = _Analysis(run)
                following = keep(f"the analysis of {key[0]}/{key[1]}", partial(self._follow, analysis))
                analysis.task = group.create_task(following, name=f"analyze {key[0]}/{key[1]}")

    async def _follow(self, analysis: _Analysis) -> None:
        """Run the analysis of one step until it is cancelled."""
        run = analysis.run
        readers = self._readers(run)
        await asyncio.sleep(self._left_of_warm_up(run))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with contained(self._what(analysis)):
            await readers.counters.begin()
            if readers.pairs is not None:
                await readers.pairs.begin()
        while True:
            await asyncio.sleep(run.interval * random.uniform(0.9, 1.1))
            with contained(self._what(analysis), partial(self._forget, analysis)):
                self._conclude(analysis, await self._data(analysis, readers, loop.time() - begun))

    @staticmethod
    def _what(analysis: _Analysis) -> str:
        return "the analysis of {}/{}".format(*analysis.run.key)

    def _forget(self, analysis: _Analysis, error: BaseException) -> None:
        """Discard the result after an unexpected exception, so that the rollout holds."""
        del error
        if analysis.state is not None:
            analysis.state = None
            self._wake(analysis.run.key)

    async def _read(self, analysis: _Analysis, reading: Awaitable[T], otherwise: Callable[[str], T]) -> T:
        """Await a reader.

        Args:
            analysis: The analysis.
            reading: The reader's call.
            otherwise: Makes the result from a message if the reader raises an unexpected exception.
        """
        failures: list[BaseException] = []
        with contained(self._what(analysis), failures.append):
            return await reading
        return otherwise(unexpected_message("Measuring", failures[0]))

    def _left_of_warm_up(self, run: AnalysisRun) -> float:
        """Return the remaining seconds of the warm-up.

        The result is never more than the whole warm-up, even if the clocks differ.
        """
        since = time_of(run.since)
        passed = (self._now() - since).total_seconds() if since is not None else 0.0
        return min(run.warm_up, max(0.0, run.warm_up - passed))

    def _readers(self, run: AnalysisRun) -> _Readers:
        sources = self._sources
        counters: Reader
        if run.spec.source.type == "Prometheus":
            counters = PrometheusReader(run, sources.pods, sources.servers)
        else:
            counters = PodReader(run, sources.pods, sources.scraper)
        pairs = sources.pairs(run) if run.paired else None
        return _Readers(counters, QueryReader(run, sources.servers), pairs)

    async def _data(self, analysis: _Analysis, readers: _Readers, elapsed: float) -> MeasurementData:
        queries = analysis.run.queries
        data, query_results, pairs = await asyncio.gather(
            self._read(analysis, readers.counters.read(elapsed), lambda message: MeasurementData(problem=message)),
            self._read(
                analysis,
                readers.queries.read(elapsed),
                lambda message: {metric.name: QueryResult(None, None, message) for metric in queries},
            ),
            self._read(analysis, _paired(readers.pairs), str),
        )
        if isinstance(pairs, Pairs):
            return replace(data, query_results=query_results, pairs=pairs)
        return replace(data, query_results=query_results, pairs_problem=pairs)

    def _conclude(self, analysis: _Analysis, data: MeasurementData) -> None:
        run = analysis.run
        measured = tuple(evaluate(metric, data) for metric in run.spec.metrics)
        analysis.failed = streaks(analysis.failed, measured)
        outcome, decisive = concluded(analysis.failed, measured, run.spec.failure_limit)
        reading = Reading(run.candidate, run.since, outcome, decisive, measured)
        before = analysis.state.reading if analysis.state is not None else None
        analysis.state = AnalysisState(run, reading, _shares(run, data))
        if before is None or _news(before) != _news(reading):
            logger.info(
                "%s/%s: the analysis of %s is %s%s",
                *run.key,
                run.candidate,
                outcome,
                f" by {decisive.metric}: {decisive.message}" if decisive is not None else "",
            )
            self._wake(run.key)


def _news(reading: Reading) -> tuple[object, ...]:
    return (reading.outcome, reading.decisive.metric if reading.decisive is not None else None)


async def _paired(reader: PairReader | None) -> Pairs | str:
    return await reader.read() if reader is not None else ""


def _shares(run: AnalysisRun, data: MeasurementData) -> dict[str, float]:
    sides = {run.candidate: data.candidate, **({run.stable: data.stable} if run.stable else {})}
    requests = {revision: counters.requests(side.recent) for revision, side in sides.items()}
    total = sum(requests.values())
    return {revision: 100.0 * count / total for revision, count in requests.items()} if total else {}
