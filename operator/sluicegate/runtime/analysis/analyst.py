"""The analyst, which judges every step in progress, once an interval.

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
from sluicegate.api.resource import Key
from sluicegate.core.analysis import counters
from sluicegate.core.analysis.aggregate import Streaks, concluded, streaks
from sluicegate.core.analysis.evidence import Answer, Evidence, Pairs
from sluicegate.core.analysis.judge import judge
from sluicegate.core.analysis.run import Judged, Subject, subject_of
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
    pairs: Callable[[Subject], PairReader]
    """Creates a reader that compares the predictions of the two revisions for the same requests."""


@dataclass(slots=True)
class _Analysis:
    subject: Subject
    task: asyncio.Task[None] | None = None
    judged: Judged | None = None
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
        return analysis.judged.reading if analysis is not None and analysis.judged is not None else None

    def judged(self) -> Iterator[Judged]:
        """Return the latest results of all running analyses.

        It may be called from another thread.
        """
        return (analysis.judged for analysis in list(self._analyses.values()) if analysis.judged is not None)

    async def run(self) -> None:
        """Run analyses until cancelled."""
        async with asyncio.TaskGroup() as group:  # No child raises, see `keep`.
            while True:
                with contained("looking for steps to judge"):
                    self._look(group)
                await asyncio.sleep(LOOK)

    def _look(self, group: asyncio.TaskGroup) -> None:
        """Start the analyses of new steps, and stop those of steps that have ended."""
        subjects: dict[Key, Subject] = {}
        for resource in self._resources.items():
            with contained("the analysis of {}/{}".format(*resource.key)):
                if (subject := subject_of(resource)) is not None:
                    subjects[resource.key] = subject
        for key, analysis in list(self._analyses.items()):
            if subjects.get(key) != analysis.subject:
                del self._analyses[key]
                if analysis.task is not None:
                    analysis.task.cancel()
        for key, subject in subjects.items():
            if key not in self._analyses:
                analysis = self._analyses[key] = _Analysis(subject)
                judging = keep(f"the analysis of {key[0]}/{key[1]}", partial(self._follow, analysis))
                analysis.task = group.create_task(judging, name=f"judge {key[0]}/{key[1]}")

    async def _follow(self, analysis: _Analysis) -> None:
        """Run the analysis of one step until it is cancelled."""
        subject = analysis.subject
        readers = self._readers(subject)
        await asyncio.sleep(self._left_of_warm_up(subject))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with contained(self._what(analysis)):
            await readers.counters.begin()
            if readers.pairs is not None:
                await readers.pairs.begin()
        while True:
            await asyncio.sleep(subject.interval * random.uniform(0.9, 1.1))
            with contained(self._what(analysis), partial(self._forget, analysis)):
                self._conclude(analysis, await self._evidence(analysis, readers, loop.time() - begun))

    @staticmethod
    def _what(analysis: _Analysis) -> str:
        return "the analysis of {}/{}".format(*analysis.subject.key)

    def _forget(self, analysis: _Analysis, error: BaseException) -> None:
        """Discard the result after an unexpected exception, so that the rollout holds."""
        del error
        if analysis.judged is not None:
            analysis.judged = None
            self._wake(analysis.subject.key)

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
        return otherwise(
            f"Measuring failed with an unexpected {type(failures[0]).__name__}. "
            "The traceback is in the operator's log: report it as a bug."
        )

    def _left_of_warm_up(self, subject: Subject) -> float:
        """Return the remaining seconds of the warm-up.

        The result is never more than the whole warm-up, even if the clocks differ.
        """
        since = time_of(subject.since)
        passed = (self._now() - since).total_seconds() if since is not None else 0.0
        return min(subject.warm_up, max(0.0, subject.warm_up - passed))

    def _readers(self, subject: Subject) -> _Readers:
        sources = self._sources
        counters: Reader
        if subject.spec.source.type == "Prometheus":
            counters = PrometheusReader(subject, sources.pods, sources.servers)
        else:
            counters = PodReader(subject, sources.pods, sources.scraper)
        pairs = sources.pairs(subject) if subject.paired else None
        return _Readers(counters, QueryReader(subject, sources.servers), pairs)

    async def _evidence(self, analysis: _Analysis, readers: _Readers, elapsed: float) -> Evidence:
        queries = analysis.subject.queries
        evidence, query_results, pairs = await asyncio.gather(
            self._read(analysis, readers.counters.read(elapsed), lambda message: Evidence(trouble=message)),
            self._read(
                analysis,
                readers.queries.read(elapsed),
                lambda message: {metric.name: Answer(None, None, message) for metric in queries},
            ),
            self._read(analysis, _paired(readers.pairs), str),
        )
        if isinstance(pairs, Pairs):
            return replace(evidence, answers=query_results, pairs=pairs)
        return replace(evidence, answers=query_results, pairs_trouble=pairs)

    def _conclude(self, analysis: _Analysis, evidence: Evidence) -> None:
        subject = analysis.subject
        measured = tuple(judge(metric, evidence) for metric in subject.spec.metrics)
        analysis.failed = streaks(analysis.failed, measured)
        outcome, decisive = concluded(analysis.failed, measured, subject.spec.failure_limit)
        reading = Reading(subject.target, subject.since, outcome, decisive, measured)
        before = analysis.judged.reading if analysis.judged is not None else None
        analysis.judged = Judged(subject, reading, _shares(subject, evidence))
        if before is None or _news(before) != _news(reading):
            logger.info(
                "%s/%s: the analysis of %s is %s%s",
                *subject.key,
                subject.target,
                outcome,
                f" by {decisive.metric}: {decisive.message}" if decisive is not None else "",
            )
            self._wake(subject.key)


def _news(reading: Reading) -> tuple[object, ...]:
    return (reading.outcome, reading.decisive.metric if reading.decisive is not None else None)


async def _paired(reader: PairReader | None) -> Pairs | str:
    return await reader.read() if reader is not None else ""


def _shares(subject: Subject, evidence: Evidence) -> dict[str, float]:
    sides = {subject.target: evidence.target, **({subject.stable: evidence.stable} if subject.stable else {})}
    requests = {revision: counters.requests(side.recent) for revision, side in sides.items()}
    total = sum(requests.values())
    return {revision: 100.0 * each / total for revision, each in requests.items()} if total else {}
