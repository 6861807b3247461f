"""The API server's audit log, which has the user and the time of each request.

All counts and times are read from it, so the measurement needs no watch of its own.
"""

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
    """One request that the API server has responded to, or a watch that it has accepted."""

    user: str
    verb: str
    resource: str
    """Plural name of the resource, followed by a slash and the subresource if there is one."""
    namespace: str
    code: int
    began: datetime
    ended: datetime
    dry: bool
    name: str = ""
    body: bytes = b""
    """The body of the request, if the audit policy keeps it."""

    @property
    def is_write(self) -> bool:
        """Tell whether the request asks for a change."""
        return self.verb in WRITES


def policy(users: tuple[str, ...], statuses_of: str | None = None) -> str:
    """Return an audit policy that logs the requests of `users` and no others.

    For the user `statuses_of`, it also logs the body of each status write.
    """
    rules: list[dict[str, Any]] = [{"level": "Metadata", "users": list(users)}, {"level": "None"}]
    if statuses_of is not None:
        written = [{"group": "sluicegate.dev", "resources": [STATUS]}]
        rules.insert(0, {"level": "Request", "users": [statuses_of], "resources": written})
    return json.dumps(
        {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}
    )


class Log:
    """A reader of the log file while the API server appends to it."""

    def __init__(self, path: Path) -> None:
        """Read from the file at `path`, which does not have to exist yet."""
        self._path = path
        self._position = 0
        self._decoder = msgspec.json.Decoder(_Line)

    def new(self) -> Iterator[Request]:
        """Yield the requests since the last call."""
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
    """The requests of one user in one phase, counted by verb and resource."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    dry: int = 0
    failed: int = 0

    def add(self, request: Request) -> None:
        """Count a request, unless it is for a Lease.

        Lease renewals depend on the clock and not on the work.
        """
        if request.resource == LEASES:
            return
        self.requests[request.verb, request.resource] += 1
        self.dry += request.dry
        self.failed += request.code >= 400

    def total(self) -> int:
        """Return the number of all requests."""
        return sum(self.requests.values())

    def writes(self) -> int:
        """Return the number of writes, Events included."""
        return sum(count for (verb, _), count in self.requests.items() if verb in WRITES)

    def status_writes(self) -> int:
        """Return the number of writes of the resources' status."""
        return sum(n for (verb, resource), n in self.requests.items() if verb in WRITES and resource == STATUS)

    def events(self) -> int:
        """Return the number of writes of Events."""
        return sum(n for (verb, resource), n in self.requests.items() if verb in WRITES and resource == EVENTS)

    def child_writes(self) -> int:
        """Return the number of writes of anything other than a status or an Event."""
        return self.writes() - self.status_writes() - self.events()

    def gets(self) -> int:
        """Return the number of reads of single objects."""
        return sum(count for (verb, _), count in self.requests.items() if verb == "get")
