"""The API server's audit log: who sent which request when. All counts and times are read from it, so that nothing watches along."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
LEASES = "leases"
EVENTS = "events"
STATUS = "modeldeployments/status"


class _User(msgspec.Struct):
    username: str = ""


class _Ref(msgspec.Struct):
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class _Answer(msgspec.Struct):
    code: int = 0


class _Line(msgspec.Struct, rename="camel"):
    stage: str
    verb: str
    request_uri: str = msgspec.field(name="requestURI")
    request_received_timestamp: datetime
    stage_timestamp: datetime
    user: _User
    object_ref: _Ref = msgspec.field(default_factory=_Ref)
    response_status: _Answer = msgspec.field(default_factory=_Answer)
    request_object: msgspec.Raw = msgspec.Raw()


class Request(NamedTuple):
    """One request that has been answered (a watch: has been accepted)."""

    user: str
    verb: str
    resource: str
    """Plural, with the subresource after a slash."""
    namespace: str
    code: int
    began: datetime
    ended: datetime
    dry: bool
    name: str = ""
    body: bytes = b""
    """What was written, where the policy keeps it."""

    @property
    def is_write(self) -> bool:
        """Whether it asked for a change."""
        return self.verb in WRITES


def policy(users: tuple[str, ...], statuses_of: str | None = None) -> str:
    """An audit policy that logs these users' requests and no other; of `statuses_of` with the statuses that it writes."""
    rules: list[dict[str, Any]] = [{"level": "Metadata", "users": list(users)}, {"level": "None"}]
    if statuses_of is not None:
        written = [{"group": "sluicegate.dev", "resources": [STATUS]}]
        rules.insert(0, {"level": "Request", "users": [statuses_of], "resources": written})
    return json.dumps(
        {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}
    )


class Log:
    """Reads the log as it grows."""

    def __init__(self, path: Path) -> None:
        """The file need not exist yet."""
        self._path = path
        self._position = 0
        self._decoder = msgspec.json.Decoder(_Line)

    def new(self) -> Iterator[Request]:
        """The requests since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as log:
            log.seek(self._position)
            for raw in log:
                if not raw.endswith(b"\n"):
                    return
                self._position += len(raw)
                line = self._decoder.decode(raw)
                if line.stage == ("ResponseStarted" if line.verb == "watch" else "ResponseComplete"):
                    yield _request(line)


def _request(line: _Line) -> Request:
    ref = line.object_ref
    return Request(
        user=line.user.username,
        verb=line.verb,
        resource=f"{ref.resource}/{ref.subresource}" if ref.subresource else ref.resource,
        namespace=ref.namespace,
        code=line.response_status.code,
        began=line.request_received_timestamp,
        ended=line.stage_timestamp,
        dry="dryRun=All" in line.request_uri,
        name=ref.name,
        body=bytes(line.request_object),
    )


@dataclass
class Tally:
    """Requests of one user in one phase, by verb and resource."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    dry: int = 0
    failed: int = 0

    def add(self, request: Request) -> None:
        """Counts one; leases are left out, they are paced by the clock."""
        if request.resource == LEASES:
            return
        self.requests[request.verb, request.resource] += 1
        self.dry += request.dry
        self.failed += request.code >= 400

    def total(self) -> int:
        """All of them."""
        return sum(self.requests.values())

    def writes(self) -> int:
        """Writes, events among them."""
        return sum(count for (verb, _), count in self.requests.items() if verb in WRITES)

    def status_writes(self) -> int:
        """Writes of the resources' status."""
        return sum(n for (verb, resource), n in self.requests.items() if verb in WRITES and resource == STATUS)

    def events(self) -> int:
        """Writes of Events."""
        return sum(n for (verb, resource), n in self.requests.items() if verb in WRITES and resource == EVENTS)

    def child_writes(self) -> int:
        """What is neither a status nor an event."""
        return self.writes() - self.status_writes() - self.events()

    def gets(self) -> int:
        """Reads of single objects."""
        return sum(count for (verb, _), count in self.requests.items() if verb == "get")
