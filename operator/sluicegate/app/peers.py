"""The other operators of the cluster: exactly one operator acts on each namespace.

The leader election is between the replicas of one release. Two releases have two Leases, so both of them lead. An
operator that serves all namespaces therefore lists the Leases of all operators, and stands back

- in a namespace that an operator of its own serves, and
- everywhere, if another operator of all namespaces is older. The age is that of its Lease.

An operator of one namespace may not read the Leases of others, so it never stands back. Everything here is reading: an
operator without the permission acts as if it were alone.

Every user with the role `edit` may create Leases. So a Lease counts only once its operator has written to the status of
a ModelDeployment, which these users may not: for an operator of one namespace, to one of that namespace.

An operator is alive while its Lease changes. Its times are those of another machine's clock, so they count only for a
Lease that has not changed for long.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from sluicegate.api.names import LEASE
from sluicegate.api.resource import ModelDeployment
from sluicegate.config.settings import Settings
from sluicegate.core.snapshot.parse import time_of
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden, KubeError
from sluicegate.kube.lease import SELECTOR
from sluicegate.runtime.resources import Resources
from sluicegate.runtime.supervise import forever

logger = logging.getLogger(__name__)

INTERVAL: Final = 10.0
GONE_SECONDS: Final = 60.0
"""Seconds without a change of its Lease until an operator counts as gone. A restart of all its replicas takes less."""
LONG_GONE_SECONDS: Final = 300.0
"""Age of a Lease that counts as gone when it is first read, such as one that an uninstalled release left."""

Name: TypeAlias = tuple[str, str]
"""Namespace and name of a Lease."""


@dataclass(frozen=True, slots=True)
class _Peer:
    name: Name
    scope: str | None
    """The namespace that it serves. None stands for all namespaces."""
    created: str

    @property
    def text(self) -> str:
        """Return the name of the operator in status."""
        return "/".join(self.name)

    @property
    def age(self) -> tuple[bool, str, Name]:
        """Return the sort key by which the oldest comes first. A Lease without a time is the youngest."""
        return (not self.created, self.created, self.name)


class Peers:
    """Knows which other operators are alive, and which of them act instead of this one."""

    def __init__(
        self, client: KubeClient, settings: Settings, clock: Callable[[], float], resources: Resources
    ) -> None:
        """Create it. It sends no request before `look`, and assumes that there is no other operator.

        Args:
            client: The API server.
            settings: The operator's settings.
            clock: Returns monotonic seconds.
            resources: All ModelDeployments.
        """
        self._client = client
        self._own: Name = settings.lease
        self._everywhere = settings.namespace is None
        self._clock = clock
        self._resources = resources
        self._changed: dict[Name, tuple[Any, float]] = {}
        """The spec of each Lease, and when it was last seen to change."""
        self._alive: list[_Peer] = []
        self._age = _Peer(self._own, None, "").age
        self._witnessed: set[tuple[str, str]] = set()
        """Operators, as `status.operator` names them, and the namespaces in which they wrote it."""
        self._of_namespace: dict[str, str] = {}
        """The other operator that acts on a namespace of its own."""
        self._of_all: str | None = None
        """The other operator that acts on all namespaces."""
        self._failing = False

    def acting(self, resource: ModelDeployment) -> str | None:
        """Return the other operator that acts on a resource, as NAMESPACE/NAME of its Lease.

        None means that this operator acts.
        """
        witness = (resource.status.operator or "", resource.metadata.namespace)
        if witness[0] not in ("", "/".join(self._own)) and witness not in self._witnessed:
            self._witnessed.add(witness)
            self._decide()
        return self._actor(resource.metadata.namespace)

    def _actor(self, namespace: str) -> str | None:
        return self._of_namespace.get(namespace) or self._of_all

    @property
    def stands_back(self) -> bool:
        """Tell whether this operator acts on no namespace."""
        return self._of_all is not None

    def counts(self) -> Mapping[str, int]:
        """Return the number of ModelDeployments that each other operator acts on instead of this one."""
        counts = Counter({name: 0 for name in (*self._of_namespace.values(), self._of_all) if name is not None})
        namespaces = (resource.metadata.namespace for resource in self._resources.items())
        counts.update(other for namespace in namespaces if (other := self._actor(namespace)))
        return counts

    async def run(self, now: Callable[[], datetime], wake: Callable[[tuple[str, str]], None]) -> None:
        """Look for other operators until cancelled.

        Args:
            now: Returns the API server's time.
            wake: Called with each ModelDeployment of a namespace that another operator begins or ceases to act on.
        """

        async def again() -> None:
            before = (dict(self._of_namespace), self._of_all)
            await self.look(now())
            if before == (self._of_namespace, self._of_all):
                return
            for resource in self._resources.items():
                namespace = resource.metadata.namespace
                if (before[0].get(namespace) or before[1]) != self._actor(namespace):
                    wake(resource.key)

        await forever("looking for other operators", INTERVAL, again)

    async def look(self, now: datetime) -> None:
        """List the Leases of all operators once. After a failure, what is known stays.

        Args:
            now: The API server's time.
        """
        if not self._everywhere:
            return
        try:
            listed = (await self._client.list(kinds.LEASE, selector=SELECTOR, resource_version="0")).items
        except KubeError as error:
            if not self._failing:
                hint = " Allow the operator to list Leases in all namespaces." if isinstance(error, Forbidden) else ""
                logger.warning("cannot look for other operators: %s.%s", error, hint)
            self._failing = True
            return
        self._failing = False
        moment = self._clock()
        alive, own = [], _Peer(self._own, None, "")
        for lease in listed:
            peer = _peer(lease)
            if peer is not None and peer.name == self._own:
                own = peer
            elif peer is not None and self._lives(peer.name, lease.get("spec") or {}, moment, now):
                alive.append(peer)
        self._alive, self._age = alive, own.age
        self._decide()

    def _lives(self, name: Name, spec: Mapping[str, Any], moment: float, now: datetime) -> bool:
        if name not in self._changed:
            renewed = _time_of(spec.get("renewTime"))
            age = (now - renewed).total_seconds() if renewed is not None else math.inf
            self._changed[name] = (spec, -math.inf if age > LONG_GONE_SECONDS else moment)
        elif self._changed[name][0] != spec:
            self._changed[name] = (spec, moment)
        return moment - self._changed[name][1] < GONE_SECONDS

    def _decide(self) -> None:
        """Decide who acts from the operators that are alive, and log a change."""
        anywhere = {operator for operator, _ in self._witnessed}
        everywhere = [peer for peer in self._alive if peer.scope is None and peer.age < self._age]
        older = sorted((peer for peer in everywhere if peer.text in anywhere), key=lambda peer: peer.age)
        of_all = older[0].text if older else None
        of_namespace = {
            peer.scope: peer.text
            for peer in sorted(self._alive, key=lambda peer: peer.age, reverse=True)
            if peer.scope is not None and (peer.text, peer.scope) in self._witnessed
        }
        if of_all is None and self._of_all is not None:
            logger.warning("no older operator serves all namespaces any longer: this one acts")
        elif of_all != self._of_all:
            logger.warning("the operator %s serves all namespaces too and is older: this one stands back", of_all)
        for namespace in sorted(of_namespace.keys() | self._of_namespace.keys()):
            other = of_namespace.get(namespace)
            if other is None:
                logger.warning("namespace %s no longer has an operator of its own", namespace)
            elif other != self._of_namespace.get(namespace):
                logger.warning("namespace %s has an operator of its own, %s: this one stands back", namespace, other)
        self._of_all, self._of_namespace = of_all, of_namespace


def _peer(lease: Mapping[str, Any]) -> _Peer | None:
    """Return the operator that a Lease belongs to, or None for any other Lease."""
    metadata = lease["metadata"]
    name = metadata["name"]
    if name != LEASE and not name.startswith(f"{LEASE}-"):
        return None
    scope = name.removeprefix(LEASE).removeprefix("-") or None
    return _Peer((metadata["namespace"], name), scope, metadata.get("creationTimestamp") or "")


def _time_of(text: Any) -> datetime | None:
    try:
        return time_of(str(text)) if text else None
    except ValueError:
        return None
