"""MLflow's registry webhooks: which deliveries are authentic, and their model.

A webhook only makes the operator poll the registry sooner, and the operator takes over nothing from its content. So a
lost, late, repeated or forged delivery changes nothing that is served. Source of the format:
mlflow/webhooks/delivery.py.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

LARGEST = 64 * 1024
"""The largest body in bytes. MLflow's own bodies are below 10 KiB."""
WINDOW = 300.0
"""How far the timestamp of a delivery may be from the operator's clock, in seconds. Retries have the timestamp of the
first attempt."""
_ENTITIES = {"registered_model", "model_version", "model_version_alias"}
"""The entities whose events may change what an alias, a stage or `latest` means."""


class Outcome(StrEnum):
    """What happened to a delivery. The values are those of a metric's label."""

    ACCEPTED = "accepted"
    NOT_FOLLOWED = "not_followed"
    """The delivery is about a model that no resource follows."""
    IRRELEVANT = "irrelevant"
    """The delivery is about something that changes no model, such as a tag."""
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    TOO_SLOW = "too_slow"
    REPLAYED = "replayed"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    STANDBY = "standby"
    NO_SECRET = "no_secret"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request as it was received."""

    id: str
    timestamp: str
    signature: str
    body: bytes


def authentic(delivery: Delivery, secrets: Iterable[bytes]) -> bool:
    """Tell whether one of the secrets has signed exactly this delivery.

    The signature covers the ID, the timestamp and the body.
    """
    # A header that is not UTF-8 arrives with surrogates, which stand for its bytes.
    signed = f"{delivery.id}.{delivery.timestamp}.".encode("utf-8", "surrogateescape") + delivery.body
    signatures = delivery.signature.encode("utf-8", "replace")
    matches = False
    for secret in secrets:
        digest = hmac.new(secret, signed, hashlib.sha256).digest()
        matches |= hmac.compare_digest(b"v1," + base64.b64encode(digest), signatures)
    return matches


def timely(delivery: Delivery, now: float) -> bool:
    """Tell whether the delivery was sent within `WINDOW` of `now` (Unix seconds)."""
    return re.fullmatch("[0-9]{1,12}", delivery.timestamp) is not None and abs(int(delivery.timestamp) - now) <= WINDOW


def subject(body: bytes) -> tuple[Outcome, str]:
    """Return what the delivery with this body is about.

    Returns:
        (accepted, the name of the registered model), or the outcome of a delivery that needs no poll of the registry.
    """
    try:
        payload = json.loads(body)
        entity, name = payload["entity"], payload["data"]["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return Outcome.MALFORMED, ""
    if not isinstance(entity, str) or not isinstance(name, str):
        return Outcome.MALFORMED, ""
    return (Outcome.ACCEPTED, name) if entity in _ENTITIES else (Outcome.IRRELEVANT, name)
