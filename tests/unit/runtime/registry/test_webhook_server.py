"""The webhook server over loopback.

The tests check which deliveries it accepts and rejects, and that it counts each of them.
"""

import asyncio
import gzip
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import httpx
import pytest
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure
from sluicegate.core.models.webhook_delivery import LARGEST, Delivery
from sluicegate.kube.rate_limit import TokenBucket
from sluicegate.runtime import http_server
from sluicegate.runtime.registry import webhook_server
from sluicegate.runtime.registry.registries import RegistryRef
from sluicegate.runtime.registry.webhook_server import Webhooks, WebhookServer

from tests.unit.core.models.test_webhook_delivery import ALIAS, SECRET, signed

REF = RegistryRef("default", "http://mlflow", "sluicegate-system", None)
BODY = json.dumps(ALIAS).encode()


class Here:
    """A webhook server and its client.

    It also replaces the registries, the follower and the leader election.
    """

    def __init__(self) -> None:
        self.leads = True
        self.failure: ResolutionFailure | None = None
        self.reads = 0
        self.looks: list[tuple[RegistryRef, str]] = []
        self.counted: Counter[str] = Counter()
        self.url = ""
        count = lambda name, outcome: self.counted.update([f"{name} {outcome}"])  # noqa: E731
        self.webhooks = Webhooks(self, self.poll_soon, lambda: self.leads, count)

    def with_webhooks(self) -> Mapping[str, RegistryRef]:
        return {"default": REF}

    async def webhook_secrets(self, name: str) -> tuple[bytes, ...]:
        self.reads += 1
        if self.failure is not None:
            raise ResolutionError(self.failure)
        return (SECRET,)

    def poll_soon(self, registry: RegistryRef, model: str) -> bool:
        self.looks.append((registry, model))
        return model == "churn"

    async def post(self, delivery: Delivery, to: str = "default") -> int:
        headers = {
            "X-MLflow-Delivery-Id": delivery.id,
            "X-MLflow-Timestamp": delivery.timestamp,
            "X-MLflow-Signature": delivery.signature,
        }
        async with httpx.AsyncClient() as client:
            return (await client.post(f"{self.url}/{to}", content=delivery.body, headers=headers)).status_code


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    here = Here()
    async with WebhookServer(here.webhooks, 0, "127.0.0.1") as server:
        here.url = f"http://127.0.0.1:{server.port}/webhooks"
        yield here


def now(body: bytes = BODY, id: str = "d1", ago: float = 0) -> Delivery:
    return signed(body, id=id, timestamp=str(int(time.time() - ago)))


async def test_a_genuine_one_makes_a_look_and_only_once(here: Here) -> None:
    delivery = now()
    assert await here.post(delivery) == 202
    assert here.looks == [(REF, "churn")]
    assert await here.post(delivery) == 409
    assert here.looks == [(REF, "churn")]
    assert here.counted == {"default accepted": 1, "default replayed": 1}
    assert here.reads == 1, "the Secret is not read for each"


async def test_what_is_not_genuine_is_refused_and_counted(here: Here) -> None:
    assert await here.post(replace(now(), signature="v1,AAAA")) == 401
    assert await here.post(replace(now(), body=BODY + b" ")) == 401
    assert await here.post(now(ago=400)) == 401
    assert await here.post(now(b"{}")) == 400
    assert await here.post(now(b" " * (LARGEST + 1))) == 413
    assert await here.post(now(), to="other") == 404
    assert here.looks == []
    assert here.counted == {
        "default bad_signature": 2,
        "default expired": 1,
        "default malformed": 1,
        "default too_large": 1,
    }


async def test_a_refused_one_may_come_again_in_good_order(here: Here) -> None:
    good = now()
    assert await here.post(replace(good, signature="v1,AAAA")) == 401
    assert await here.post(good) == 202


async def test_what_is_followed_by_nobody_is_no_error(here: Here) -> None:
    assert await here.post(now(json.dumps({**ALIAS, "data": {"name": "example_model"}}).encode())) == 200
    assert here.counted == {"default not_followed": 1}


async def test_a_standby_and_a_missing_secret_ask_for_another_try(here: Here) -> None:
    here.leads = False
    assert await here.post(now()) == 503
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{here.url}/default")
    assert answer.headers["connection"] == "close", "the next try has to be able to meet another replica"
    here.leads = True
    here.failure = ResolutionFailure(Reason.SECRET_NOT_FOUND, "gone")
    assert await here.post(now()) == 503
    here.failure = None
    assert await here.post(now()) == 202


async def test_logs_once_why_a_secret_cannot_be_read(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    for cause in ("gone", "gone", "forbidden"):
        here.failure = ResolutionFailure(Reason.SECRET_NOT_FOUND, cause)
        assert await here.post(now()) == 503
    logged = [record.getMessage() for record in caplog.records if "webhooks are refused" in record.getMessage()]
    assert logged == [f"registry default: webhooks are refused: {cause}" for cause in ("gone", "forbidden")]


async def test_a_flood_is_held_back(here: Here) -> None:
    here.webhooks._buckets["default"] = TokenBucket(rate=0, burst=10)
    answers = Counter([await here.post(now(id=str(number))) for number in range(15)])
    assert answers == {202: 10, 429: 5}
    assert here.counted == {"default accepted": 10, "default too_many": 5}


async def test_forgeries_do_not_use_up_the_rate_limit(here: Here) -> None:
    here.webhooks._buckets["default"] = TokenBucket(rate=0, burst=1)
    answers = Counter([await here.post(replace(now(id=str(number)), signature="v1,AAAA")) for number in range(15)])
    assert answers == {401: 15}
    assert await here.post(now(ago=400)) == 401
    assert await here.post(now()) == 202


@pytest.mark.parametrize("timestamp", ["9" * 400, "1" * 7000])
async def test_a_signed_timestamp_of_many_digits_is_expired(here: Here, timestamp: str) -> None:
    assert await here.post(signed(BODY, timestamp=timestamp)) == 401
    assert here.counted == {"default expired": 1}


async def raw(here: Here, sent: bytes) -> bytes:
    """Send bytes to the server, and return all that it responds until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(here.url.rpartition(":")[2].partition("/")[0]))
    try:
        writer.write(sent)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


HEAD = b"POST /webhooks/default HTTP/1.1\r\nHost: x\r\n"


async def test_headers_that_are_not_utf8_are_refused(here: Here) -> None:
    sent = HEAD + b"X-MLflow-Delivery-Id: \xff\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    assert b" 401 " in (await raw(here, sent)).splitlines()[0]


async def test_a_body_that_does_not_arrive_is_a_timeout(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_server, "BODY_SECONDS", 0.1)
    assert b" 408 " in (await raw(here, HEAD + b"Content-Length: 9\r\n\r\nabc")).splitlines()[0]


async def test_a_compressed_body_is_not_expanded(here: Here) -> None:
    body = gzip.compress(b" " * (1 << 24))
    sent = HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert b" 401 " in (await raw(here, sent)).splitlines()[0]


async def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.2)
    here = Here()
    async with WebhookServer(here.webhooks, 0, "127.0.0.1") as server:
        here.url = f"http://127.0.0.1:{server.port}/webhooks"
        assert await raw(here, HEAD) == b""
        async with httpx.AsyncClient() as client:  # a connection that has made a request stays
            assert (await client.post(f"{here.url}/default")).status_code == 401
            await asyncio.sleep(0.5)
            (connection,) = client._transport._pool.connections  # type: ignore[attr-defined]
            assert (await client.post(f"{here.url}/default")).status_code == 401
            assert client._transport._pool.connections == [connection]  # type: ignore[attr-defined]


async def test_without_a_secret_nothing_listens() -> None:
    class Nobody(Here):
        def with_webhooks(self) -> Mapping[str, RegistryRef]:
            return {}

    async with WebhookServer(Nobody().webhooks, 0, "127.0.0.1") as server:
        assert server.port == 0
