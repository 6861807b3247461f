"""Leader election on a Lease: at most one operator acts.

The rules are those of client-go. A candidate for leadership trusts only its own monotonic clock. It waits until it has
observed an unchanged record for a whole lease duration. The times in the record do not matter, so clock skew does no
harm. The leader stops before that duration ends (the renew deadline), so two leaders never overlap.
"""

import asyncio
import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sluicegate.api import names
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import KubeError
from sluicegate.kube.kinds import LEASE
from sluicegate.kube.wire import Object

logger = logging.getLogger(__name__)

SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGER}"
"""Label selector of the Leases of all operators of the cluster."""
_LABELS = {names.LABEL_MANAGED_BY: names.MANAGER}


@dataclass(frozen=True, slots=True)
class LeaseTimings:
    """The periods of an election, in seconds.

    An outage of the API server that is shorter than `renew` does not end leadership.
    """

    lease: float = 15.0
    """How long a standby must observe an unchanged record before it takes over."""
    renew: float = 10.0
    """How long a leader that fails to renew retries. It remains the leader during that time."""
    retry: float = 2.0
    """Interval between renewals, or between a standby's reads. A leader that fails to renew tries four times as
    often."""

    def __post_init__(self) -> None:
        """Reject timings under which two operators could lead at the same time."""
        if not (0 < self.retry < self.renew and self.tenure < self.lease):
            raise ValueError(f"timings must satisfy 0 < retry < renew and retry + renew < lease, got {self}")

    @property
    def tenure(self) -> float:
        """Return the seconds of leadership from the start of one renewal.

        Leadership ends after that unless another renewal succeeds.
        """
        return self.retry + self.renew


DEFAULT_TIMINGS = LeaseTimings()


class Elector:
    """One candidate for leadership.

    Call `acquire`, then `hold`. When `hold` returns, stop acting. Call `release` on shutdown.
    """

    def __init__(
        self,
        client: KubeClient,
        lease: tuple[str, str],
        identity: str,
        clock: Callable[[], float],
        timings: LeaseTimings = DEFAULT_TIMINGS,
    ) -> None:
        """Prepare the elector. It sends no request before `acquire`.

        Args:
            client: Its requests for Leases do not wait for other requests.
            lease: Namespace and name of the Lease.
            identity: Unique among candidates: the pod's name and uid.
            clock: Monotonic seconds.
            timings: The periods of the election.
        """
        self._client = client
        self._namespace, self._name = lease
        self._identity = identity
        self._clock = clock
        self._timings = timings
        self._seen: Object | None = None
        """The Lease as last read or written. None if it is unknown."""
        self._seen_at = 0.0
        self._renewed_at: float | None = None
        """When the last successful renewal started. None while this candidate does not lead."""
        self._current = False
        """Whether `_seen` is the response to this candidate's last write. If so, the next write needs no read before
        it."""

    @property
    def leading(self) -> bool:
        """Tell whether this candidate may act now.

        A check before a write detects that the process was stalled.
        """
        return self._renewed_at is not None and self._clock() - self._renewed_at < self._timings.tenure

    @property
    def holder(self) -> str:
        """Return the holder of the Lease as last read. Empty means none."""
        return str(_spec(self._seen).get("holderIdentity") or "")

    async def acquire(self) -> None:
        """Wait until this candidate leads."""
        while True:
            if await self._attempt(self._timings.renew):
                break
            await asyncio.sleep(self._timings.retry * random.uniform(1.0, 1.2))
        logger.info("leading as %s", self._identity)

    async def hold(self) -> None:
        """Renew the Lease until leadership is lost.

        Leadership is lost to another candidate or by the renew deadline.
        """
        pause = self._timings.retry
        while self._renewed_at is not None:
            await asyncio.sleep(min(pause, max(0.0, self._left())))
            if not self.leading:
                logger.error("cannot renew the Lease for %.0f s: this process stops leading", self._timings.renew)
                self._renewed_at = None
            elif await self._attempt(self._left()):
                pause = self._timings.retry
            elif self.holder not in ("", self._identity):
                logger.error("%s took the Lease: this process stops leading", self.holder)
                self._renewed_at = None
            else:
                pause = self._timings.retry / 4

    async def release(self) -> None:
        """Release the Lease so that a standby takes over at once.

        If the release fails, the Lease expires.
        """
        if self._renewed_at is None:
            return
        self._renewed_at = None
        try:
            async with asyncio.timeout(self._timings.retry * 2):
                lease = self._seen if self._current else await self._read()
                if lease is not None and self.holder == self._identity:
                    await self._write(lease, {"holderIdentity": "", "leaseDurationSeconds": 1})
        except (KubeError, TimeoutError) as error:
            logger.warning("cannot release the Lease: %s", str(error) or "no response in time")

    def _left(self) -> float:
        """Return the seconds until leadership ends."""
        return self._timings.tenure - (self._clock() - (self._renewed_at or 0.0))

    async def _attempt(self, limit: float) -> bool:
        """Try once to take or renew the Lease, within half of `limit` seconds.

        If the connection hangs, this leaves time for another attempt.
        """
        started = self._clock()
        try:
            async with asyncio.timeout(limit / 2):
                won = await self._take_or_renew()
        except (KubeError, TimeoutError) as error:
            logger.warning("Lease %s/%s: %s", self._namespace, self._name, str(error) or "no response in time")
            return False
        if won:
            self._renewed_at = started
        return won

    async def _take_or_renew(self) -> bool:
        """Take the Lease if it is free, or renew it if this candidate holds it.

        Raises:
            KubeError: Another writer changed the Lease first, or the outcome of the write is unknown. The next attempt
                reads the Lease.
        """
        lease = self._seen if self._current else await self._read()
        self._current = False
        if lease is None:
            spec = self._claim({}) | {"leaseTransitions": 0, "renewTime": _now()}
            metadata = {"namespace": self._namespace, "name": self._name, "labels": _LABELS}
            self._note(await self._client.create(LEASE, {"metadata": metadata, "spec": spec}))
            self._current = True
            return True
        if not self._is_free(lease):
            return False
        await self._write(lease, self._claim(_spec(lease)))
        return True

    def _is_free(self, lease: Object) -> bool:
        if self.holder in ("", self._identity):
            return True
        promised = float(_spec(lease).get("leaseDurationSeconds") or 0)
        return self._clock() - self._seen_at >= max(self._timings.lease, promised)

    def _claim(self, old: Object) -> Object:
        """Return the spec that makes this candidate the holder.

        Args:
            old: The current spec.
        """
        claim: Object = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._timings.lease),
        }
        if old.get("holderIdentity") != self._identity:
            claim["acquireTime"] = _now()
            claim["leaseTransitions"] = (old.get("leaseTransitions") or 0) + 1
        return claim

    async def _read(self) -> Object | None:
        lease = await self._client.get(LEASE, self._namespace, self._name)
        if lease is None:
            self._seen = None
        else:
            self._note(lease)
        return lease

    async def _write(self, lease: Object, spec: Object) -> None:
        """Patch exactly the version that was last read or written.

        A write by another client in between causes a Conflict.
        """
        patch = {
            "metadata": {"resourceVersion": lease["metadata"]["resourceVersion"], "labels": _LABELS},
            "spec": spec | {"renewTime": _now()},
        }
        self._note(await self._client.merge_patch(LEASE, self._namespace, self._name, patch))
        self._current = True

    def _note(self, lease: Object) -> None:
        """Store the Lease, and the time since when its record is unchanged."""
        if self._seen is None or _spec(self._seen) != _spec(lease):
            self._seen_at = self._clock()
        self._seen = lease


def _spec(lease: Object | None) -> Object:
    return (lease or {}).get("spec") or {}


def _now() -> str:
    """Return the wall-clock time for users who read the Lease.

    No decision depends on it.
    """
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
