"""MLflow's registry webhooks: which delivery is to be believed, and which registered model it is about.

A webhook only hastens a look at the registry. Nothing in it is taken over, so a lost, late, doubled or forged one changes nothing
that is served. Source of the format: mlflow/webhooks/delivery.py.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

LARGEST = 64 * 1024
"""Bytes of a body: MLflow's own are below 10 KiB."""
WINDOW = 300.0
"""Seconds that a delivery's time may be away from ours; its retries carry the time of the first attempt."""
REMEMBERED = 10_000
"""Deliveries of a registry that are known as seen."""
_ENTITIES = {"registered_model", "model_version", "model_version_alias"}
"""Those that may change what an alias, a stage or `latest` means."""


class Outcome(StrEnum):
    """What became of a delivery; a label of the metric."""

    ACCEPTED = "accepted"
    NOT_FOLLOWED = "not_followed"
    """It is about a model that nothing here follows."""
    IRRELEVANT = "irrelevant"
    """It is about something that changes no model, such as a tag."""
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    REPLAYED = "replayed"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    STANDBY = "standby"
    NO_SECRET = "no_secret"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request, as it came."""

    id: str
    timestamp: str
    signature: str
    body: bytes


def authentic(delivery: Delivery, secrets: Iterable[bytes]) -> bool:
    """Whether one of the secrets has signed exactly this delivery: its id, its time and its body."""
    signed = f"{delivery.id}.{delivery.timestamp}.".encode() + delivery.body
    given = delivery.signature.encode("utf-8", "replace")
    found = False
    for secret in secrets:
        digest = hmac.new(secret, signed, hashlib.sha256).digest()
        found |= hmac.compare_digest(b"v1," + base64.b64encode(digest), given)
    return found


def timely(delivery: Delivery, now: float) -> bool:
    """Whether it was sent within `WINDOW` of `now` (Unix seconds)."""
    try:
        return delivery.timestamp.isascii() and abs(int(delivery.timestamp) - now) <= WINDOW
    except ValueError:
        return False


def subject(body: bytes) -> tuple[Outcome, str]:
    """What it is about: (accepted, the registered model's name), or why there is nothing to look at."""
    try:
        found = json.loads(body)
        entity, name = found["entity"], found["data"]["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return Outcome.MALFORMED, ""
    if not isinstance(entity, str) or not isinstance(name, str):
        return Outcome.MALFORMED, ""
    return (Outcome.ACCEPTED, name) if entity in _ENTITIES else (Outcome.IRRELEVANT, name)


class Seen:
    """Deliveries of one registry that were taken: none of them is taken twice within the window."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def first(self, delivery: Delivery, now: float) -> bool:
        """Whether an authentic and timely delivery is new; from then on it is not."""
        while self._until and (next(iter(self._until.values())) < now or len(self._until) >= REMEMBERED):
            self._until.popitem(last=False)
        if delivery.id in self._until:
            return False
        self._until[delivery.id] = now + 2 * WINDOW
        return True


class Bucket:
    """At most `rate` deliveries a second on average, and `burst` at once."""

    def __init__(self, rate: float = 20.0, burst: float = 100.0) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, 0.0

    def take(self, now: float) -> bool:
        """Whether one more is let in at `now` (monotonic seconds)."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
