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
from sluicegate.runtime.analysis.prometheus_resolver import Servers
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
    servers: Servers
    pairs: Callable[[Subject], PairReader]
    """Creates a reader that compares the predictions of the two revisions for the same requests."""


@dataclass(slots=True)
class _Case:
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
        self._cases: dict[Key, _Case] = {}

    def reading(self, key: Key) -> Reading | None:
        """Return the analysis result of a resource's current step, or None.

        There is no result before the first interval ends, and after an unexpected exception.
        """
        case = self._cases.get(key)
        return case.judged.reading if case is not None and case.judged is not None else None

    def judged(self) -> Iterator[Judged]:
        """Return the latest results of all running analyses.

        It may be called from another thread.
        """
        return (each.judged for each in list(self._cases.values()) if each.judged is not None)

    async def run(self) -> None:
        """Run analyses until cancelled."""
        async with asyncio.TaskGroup() as group:  # No child raises, see `keep`.
            while True:
                with contained("looking for steps to judge"):
                    self._look(group)
                await asyncio.sleep(LOOK)

    def _look(self, group: asyncio.TaskGroup) -> None:
        """Start the analyses of new steps, and stop those of steps that have ended."""
        wanted: dict[Key, Subject] = {}
        for resource in self._resources.items():
            with contained("the analysis of {}/{}".format(*resource.key)):
                if (subject := subject_of(resource)) is not None:
                    wanted[resource.key] = subject
        for key, case in list(self._cases.items()):
            if wanted.get(key) != case.subject:
                del self._cases[key]
                if case.task is not None:
                    case.task.cancel()
        for key, subject in wanted.items():
            if key not in self._cases:
                case = self._cases[key] = _Case(subject)
                judging = keep(f"the analysis of {key[0]}/{key[1]}", partial(self._follow, case))
                case.task = group.create_task(judging, name=f"judge {key[0]}/{key[1]}")

    async def _follow(self, case: _Case) -> None:
        """Run the analysis of one step until it is cancelled."""
        subject = case.subject
        readers = self._readers(subject)
        await asyncio.sleep(self._left_of_warm_up(subject))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with contained(self._what(case)):
            await readers.counters.begin()
            if readers.pairs is not None:
                await readers.pairs.begin()
        while True:
            await asyncio.sleep(subject.interval * random.uniform(0.9, 1.1))
            with contained(self._what(case), partial(self._forget, case)):
                self._conclude(case, await self._evidence(case, readers, loop.time() - begun))

    @staticmethod
    def _what(case: _Case) -> str:
        return "the analysis of {}/{}".format(*case.subject.key)

    def _forget(self, case: _Case, error: BaseException) -> None:
        """Discard the result after an unexpected exception, so that the rollout holds."""
        del error
        if case.judged is not None:
            case.judged = None
            self._wake(case.subject.key)

    async def _read(self, case: _Case, reading: Awaitable[T], otherwise: Callable[[str], T]) -> T:
        """Await a reader.

        Args:
            case: The analysis.
            reading: The reader's call.
            otherwise: Makes the result from a message if the reader raises an unexpected exception.
        """
        failures: list[BaseException] = []
        with contained(self._what(case), failures.append):
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

    async def _evidence(self, case: _Case, readers: _Readers, elapsed: float) -> Evidence:
        queries = case.subject.queries
        evidence, answers, pairs = await asyncio.gather(
            self._read(case, readers.counters.read(elapsed), lambda trouble: Evidence(trouble=trouble)),
            self._read(
                case,
                readers.queries.read(elapsed),
                lambda trouble: {metric.name: Answer(None, None, trouble) for metric in queries},
            ),
            self._read(case, _paired(readers.pairs), str),
        )
        if isinstance(pairs, Pairs):
            return replace(evidence, answers=answers, pairs=pairs)
        return replace(evidence, answers=answers, pairs_trouble=pairs)

    def _conclude(self, case: _Case, evidence: Evidence) -> None:
        subject = case.subject
        measured = tuple(judge(each, evidence) for each in subject.spec.metrics)
        case.failed = streaks(case.failed, measured)
        outcome, decisive = concluded(case.failed, measured, subject.spec.failure_limit)
        reading = Reading(subject.target, subject.since, outcome, decisive, measured)
        before = case.judged.reading if case.judged is not None else None
        case.judged = Judged(subject, reading, _shares(subject, evidence))
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
