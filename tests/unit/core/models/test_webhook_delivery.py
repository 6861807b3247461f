"""Which webhook deliveries the operator accepts.

The stock sender itself is in tests/registry/test_webhooks.py.
"""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.core.models.webhook_delivery import (
    WINDOW,
    Delivery,
    Outcome,
    authentic,
    subject,
    timely,
)

SECRET, NOW = b"a secret", 1_700_000_000.0
ALIAS = {
    "entity": "model_version_alias",
    "action": "created",
    "timestamp": "2026-01-01T00:00:00",
    "data": {"name": "churn"},
}


def signed(body: bytes, secret: bytes = SECRET, id: str = "d1", timestamp: str = "1700000000") -> Delivery:
    digest = hmac.new(secret, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return Delivery(id, timestamp, "v1," + base64.b64encode(digest).decode(), body)


def test_what_the_secret_signed_is_authentic_also_while_secrets_are_exchanged() -> None:
    delivery = signed(b"{}")
    assert authentic(delivery, (SECRET,))
    assert authentic(delivery, (b"the new one", SECRET))
    assert not authentic(delivery, (b"another",))
    assert not authentic(delivery, ())


@given(st.binary(max_size=80), st.sampled_from(["id", "timestamp", "signature", "body"]), st.text(max_size=12))
def test_nothing_can_be_changed_about_a_signed_delivery(body: bytes, part: str, other: str) -> None:
    genuine = signed(body)
    parts: dict[str, Any] = {each: getattr(genuine, each) for each in ("id", "timestamp", "signature", "body")}
    changed = Delivery(**{**parts, part: other.encode() if part == "body" else other})
    assert authentic(changed, (SECRET,)) == (changed == genuine)


def test_the_parts_cannot_be_moved_into_each_other() -> None:
    genuine = signed(b"3.x", id="1", timestamp="2")
    assert not authentic(Delivery("1", "2.3", genuine.signature, b"x"), (SECRET,)) or not timely(
        Delivery("1", "2.3", genuine.signature, b"x"), 2
    )


@pytest.mark.parametrize("timestamp", ["", "soon", "1e3", "٣", "nan", "-1", "1700000000.0", "9" * 400, "9" * 5000])
def test_what_is_no_time_of_now_is_expired(timestamp: str) -> None:
    assert not timely(signed(b"", timestamp=timestamp), NOW)


def test_the_window() -> None:
    assert timely(signed(b""), NOW + WINDOW)
    assert timely(signed(b""), NOW - WINDOW)
    assert not timely(signed(b""), NOW + WINDOW + 1)
    assert not timely(signed(b""), NOW - WINDOW - 1)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda each: json.dumps(each).encode())
)
def test_garbage_is_malformed(body: bytes) -> None:
    assert subject(body) == (Outcome.MALFORMED, "")


def test_deep_garbage_is_malformed() -> None:
    assert subject(b"[" * 60_000) == (Outcome.MALFORMED, "")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (Outcome.ACCEPTED, "churn")),
        ({"entity": "model_version"}, (Outcome.ACCEPTED, "churn")),
        ({"entity": "registered_model"}, (Outcome.ACCEPTED, "churn")),
        ({"entity": "model_version_tag"}, (Outcome.IRRELEVANT, "churn")),
        ({"entity": "prompt"}, (Outcome.IRRELEVANT, "churn")),
        ({"entity": 3}, (Outcome.MALFORMED, "")),
        ({"data": {"name": 3}}, (Outcome.MALFORMED, "")),
        ({"data": []}, (Outcome.MALFORMED, "")),
    ],
)
def test_what_an_event_is_about(change: dict[str, Any], expected: tuple[Outcome, str]) -> None:
    assert subject(json.dumps({**ALIAS, **change}).encode()) == expected
