"""The pairing of the predictions of two revisions for the same requests.

It asks the pods of both revisions for their recent predictions, and pairs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sluicegate.adapters.pods.recent_predictions import AnswerReader, Pod, Untold
from sluicegate.api.names import RevisionHash
from sluicegate.core.analysis.evidence import Pairs
from sluicegate.core.analysis.pairing import Pairing, Told
from sluicegate.core.analysis.run import Subject
from sluicegate.core.snapshot.facts import PodFacts
from sluicegate.runtime.analysis.readers import Pods, alive

GRACE = 30.0
"""Seconds, in addition to two intervals, for which pods keep predictions.

So one late or failed reading loses no prediction.
"""


class PodPairs:
    """The pairs of one step of a rollout since its warm-up."""

    def __init__(self, subject: Subject, pods: Pods, reader: AnswerReader) -> None:
        """Create a reader. Pods keep no predictions before `begin`.

        Args:
            subject: The step.
            pods: Returns the pods of a revision.
            reader: Reads the recent predictions of a pod.
        """
        self._subject = subject
        self._pods = pods
        self._reader = reader
        self._pairing = Pairing(subject.tolerances)
        self._cursors: dict[str, str] = {}
        self._begun = 0.0

    async def begin(self) -> None:
        """Make the pods keep predictions from now on."""
        self._begun = asyncio.get_running_loop().time()
        await self.read()

    async def read(self) -> Pairs | str:
        """Return all pairs since `begin`, or a message about why there are none."""
        subject = self._subject
        if subject.stable is None:
            return "There is no stable revision whose answers could be compared."
        # Read the candidate first. Stable has long answered the requests that the candidate reports by then.
        mine, troubles = await self._side(subject.target)
        theirs, more = await self._side(subject.stable)
        self._pairing.add(mine, theirs)
        return self._pairs([*troubles, *more])

    def _pairs(self, troubles: Sequence[str]) -> Pairs | str:
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
        if troubles:
            return troubles[0]
        mine, theirs = pairing.seen
        told = (
            f"No mirrored request has been answered by both yet: {mine} answers of the new version "
            f"and {theirs} of stable are known."
        )
        if min(mine, theirs) >= 100:
            told += (
                " If it stays so, the gateway gives copies another x-request-id, or another body, than their originals."
            )
        return told

    async def _side(self, revision: RevisionHash) -> tuple[list[Told], list[str]]:
        """Return the new predictions of one revision's pods, and the errors."""
        there = alive(self._pods(self._subject.key, revision))
        if not there:
            return [], ["One of the two versions has no ready pod whose answers could be compared."]
        found = await asyncio.gather(*(self._pod(each) for each in there))
        told = [each for part in found if not isinstance(part, str) for each in part]
        return told, [each for each in found if isinstance(each, str)]

    async def _pod(self, pod: PodFacts) -> list[Told] | str:
        subject = self._subject
        keep = 2 * subject.interval + GRACE
        try:
            recent = await self._reader.read(
                Pod(pod.name, pod.address, pod.uid), self._cursors.get(pod.name, ""), keep, subject.timeout
            )
        except Untold as error:
            return str(error)
        self._cursors[pod.name] = recent.cursor
        since = asyncio.get_running_loop().time() - self._begun
        return [told for age, told in recent.answers if age < since]
