"""The pairing of the predictions of two revisions for the same requests.

It asks the pods of both revisions for their recent predictions, and pairs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sluicegate.adapters.pods.recent_predictions import Pod, PredictionReader, PredictionsUnavailable
from sluicegate.api.names import RevisionHash
from sluicegate.core.analysis.measurement_data import Pairs
from sluicegate.core.analysis.pairing import Pairing, ReportedResponse
from sluicegate.core.analysis.run import AnalysisRun
from sluicegate.core.snapshot.facts import PodFacts
from sluicegate.runtime.analysis.readers import Pods, alive

GRACE = 30.0
"""Seconds, in addition to two intervals, for which pods keep predictions.

So one late or failed reading loses no prediction.
"""


class PodPairs:
    """The pairs of one step of a rollout since its warm-up."""

    def __init__(self, run: AnalysisRun, pods: Pods, reader: PredictionReader) -> None:
        """Create a reader. Pods keep no predictions before `begin`.

        Args:
            run: The step.
            pods: Returns the pods of a revision.
            reader: Reads the recent predictions of a pod.
        """
        self._run = run
        self._pods = pods
        self._reader = reader
        self._pairing = Pairing(run.tolerances)
        self._cursors: dict[str, str] = {}
        self._begun = 0.0

    async def begin(self) -> None:
        """Make the pods keep predictions from now on."""
        self._begun = asyncio.get_running_loop().time()
        await self.read()

    async def read(self) -> Pairs | str:
        """Return all pairs since `begin`, or a message about why there are none."""
        run = self._run
        if run.stable is None:
            return "There is no stable revision to compare predictions with."
        # Read the candidate first. Stable has long answered the requests that the candidate reports by then.
        candidate, errors = await self._side(run.candidate)
        stable, more_errors = await self._side(run.stable)
        self._pairing.add(candidate, stable)
        return self._pairs([*errors, *more_errors])

    def _pairs(self, errors: Sequence[str]) -> Pairs | str:
        pairing = self._pairing
        if pairing.compared:
            return Pairs(
                pairing.compared,
                pairing.beyond[0.0],
                pairing.largest,
                pairing.example,
                pairing.unlike,
                dict(pairing.beyond),
            )
        if errors:
            return errors[0]
        candidate, stable = pairing.seen
        message = (
            f"No mirrored request has a prediction of both revisions yet: {candidate} predictions of the candidate "
            f"and {stable} of the stable revision are known."
        )
        if min(candidate, stable) >= 100:
            message += (
                " If this persists, the gateway sends copies with another x-request-id or body than their originals."
            )
        return message

    async def _side(self, revision: RevisionHash) -> tuple[list[ReportedResponse], list[str]]:
        """Return the new predictions of one revision's pods, and the errors."""
        pods = alive(self._pods(self._run.key, revision))
        if not pods:
            return [], [f"Revision {revision} has no ready pod whose predictions can be compared."]
        results = await asyncio.gather(*(self._pod(pod) for pod in pods))
        predictions = [prediction for result in results if not isinstance(result, str) for prediction in result]
        return predictions, [result for result in results if isinstance(result, str)]

    async def _pod(self, pod: PodFacts) -> list[ReportedResponse] | str:
        run = self._run
        keep = 2 * run.interval + GRACE
        try:
            recent = await self._reader.read(
                Pod(pod.name, pod.address, pod.uid), self._cursors.get(pod.name, ""), keep, run.timeout
            )
        except PredictionsUnavailable as error:
            return str(error)
        self._cursors[pod.name] = recent.cursor
        since = asyncio.get_running_loop().time() - self._begun
        return [prediction for age, prediction in recent.predictions if age < since]
