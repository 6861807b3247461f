"""Notifications to a real receiver.

The notifier retries within bounds, delays no other work, and never reveals the address.
"""

import asyncio
import base64
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from aiohttp import web
from sluicegate.adapters.notifications import InvalidReceiver, Receiver, Reply, post
from sluicegate.config.settings import build
from sluicegate.kube.errors import Forbidden
from sluicegate.runtime.notifications import DELAYS, MOST, Notifier, Post

from tests.support import virtual_clock
from tests.unit.core.status.test_notifications import resource_of, status

NOW = datetime(2026, 11, 28, tzinfo=UTC)
SECRET_PATH = "/services/T000/B000/verysecret"
OK, AGAIN, NO = (
    Reply(True, False, ""),
    Reply(False, True, "it responded with 503"),
    Reply(False, False, "it responded with 404"),
)


class Secrets:
    """The Secrets of the operator's namespace."""

    def __init__(self, **data: str) -> None:
        self.data: dict[str, str] | None = data
        self.reads = 0

    async def get(self, kind: object, namespace: str, name: str) -> dict[str, object] | None:
        assert (namespace, name) == ("sluicegate-system", "slack")
        self.reads += 1
        if self.data is None:
            return None
        return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in self.data.items()}}


class Here:
    """A notifier with one destination, and its counters."""

    def __init__(self, send: Post = post, secrets: Any = None, **destination: Any) -> None:
        self.counted: Counter[str] = Counter()
        settings = build([("test", {"notifications": {"ops": destination or {"url": "http://x"}}})])
        count = lambda name, outcome: self.counted.update([f"{name} {outcome}"])  # noqa: E731
        self.notifier = Notifier(secrets or Secrets(), settings, count, send)

    def roll_back(self, name: str = "pricing") -> None:
        before = msgspec.structs.replace(resource_of(name), status=status(phase="Holding"))
        self.notifier.watch(before, status(phase="RolledBack", message="Too slow."), NOW)


class Receivers:
    """A real server that sends the responses that the test sets.

    It keeps the requests.
    """

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.got: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.url = ""
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append((request.path, dict(request.headers), await request.json()))
        await self.goes_on.wait()
        return self.answers.pop(0) if self.answers else web.Response()


@pytest.fixture
async def receiver() -> AsyncIterator[Receivers]:
    made = Receivers()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}{SECRET_PATH}"
    yield made
    made.goes_on.set()
    await runner.cleanup()


async def test_a_rollback_reaches_the_receiver(receiver: Receivers) -> None:
    here = Here(url=receiver.url)
    task = asyncio.create_task(here.notifier.run())
    here.roll_back()
    await here.notifier.flush(10)
    task.cancel()
    ((path, headers, content),) = receiver.got
    assert (path, content["event"], content["message"]) == (SECRET_PATH, "RolledBack", "Too slow.")
    assert headers["X-Sluicegate-Delivery"] == content["id"]
    assert here.counted == {"ops sent": 1}


async def test_address_and_authorization_come_from_a_secret_that_may_change(receiver: Receivers) -> None:
    secrets = Secrets(url=receiver.url + "\n", authorization="Bearer t")
    here = Here(secrets=secrets, secret="slack", format="Slack")
    task = asyncio.create_task(here.notifier.run())
    here.roll_back()
    await here.notifier.flush(10)
    secrets.data = {"url": receiver.url + "2"}
    here.roll_back()
    await here.notifier.flush(10)
    task.cancel()
    assert [path for path, _, _ in receiver.got] == [SECRET_PATH, SECRET_PATH + "2"]
    assert receiver.got[0][1]["Authorization"] == "Bearer t" and "Authorization" not in receiver.got[1][1]
    assert list(receiver.got[0][2]) == ["text"]


@pytest.mark.parametrize(
    ("answer", "again", "after"),
    [
        (web.Response(status=500), True, None),
        (web.Response(status=429, headers={"Retry-After": "7"}), True, 7.0),
        (web.Response(status=429, headers={"Retry-After": "999999999"}), True, 600.0),
        (web.Response(status=503, headers={"Retry-After": "Sat, 28 Nov 2026 01:00:00 GMT"}), True, None),
        (web.Response(status=404, text="no_service"), False, None),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}), False, None),
    ],
)
async def test_what_an_answer_means(
    receiver: Receivers, answer: web.Response, again: bool, after: float | None
) -> None:
    receiver.answers = [answer]
    reply = await post(Receiver(receiver.url), b"{}", "1")
    assert (reply.sent, reply.again, reply.after) == (False, again, after)
    assert reply.problem == f"it responded with {answer.status}"


async def test_a_receiver_that_is_not_there_is_tried_again() -> None:
    reply = await post(Receiver("http://127.0.0.1:9/secret"), b"{}", "1")
    assert (reply.again, reply.problem) == (True, "it cannot be reached (ConnectError)")


async def test_a_receiver_that_hangs_is_left(receiver: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.adapters.notifications.SECONDS", 0.2)
    receiver.goes_on.clear()
    reply = await post(Receiver(receiver.url), b"{}", "1")
    assert (reply.sent, reply.again) == (False, True)


@pytest.mark.parametrize("url", ["", "slack", "ftp://x/y", "http://", "http://a:b/"])
async def test_what_is_no_url_is_said_without_quoting_it(url: str) -> None:
    with pytest.raises(InvalidReceiver, match="its url is not an http"):
        await post(Receiver(url), b"{}", "1")


async def test_a_certificate_that_is_none_is_said() -> None:
    with pytest.raises(InvalidReceiver, match=r"its ca\.crt is not valid PEM"):
        await post(Receiver("https://127.0.0.1:9/", ca_pem="x"), b"{}", "1")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "no key"),
        ({"url": b" \n"}, "no key"),
        ({"url": "http://ü".encode()}, "the key url is not plain"),
        ({"url": b"http://x", "authorization": b"a\nb"}, "the key authorization"),
    ],
)
def test_a_secret_of_no_use_is_said_without_quoting_it(data: dict[str, bytes], words: str) -> None:
    with pytest.raises(InvalidReceiver, match=words) as found:
        Receiver.from_secret(data, "The Secret")
    assert "http" not in str(found.value)


class Scripted:
    """A send function that returns the replies that the test sets.

    It records the time of each call.
    """

    def __init__(self, *replies: Reply, seconds: float = 0.0) -> None:
        self.replies = list(replies)
        self.seconds = seconds
        self.at: list[float] = []
        self.sent: list[tuple[str, bytes]] = []

    async def __call__(self, receiver: Receiver, content: bytes, delivery: str) -> Reply:
        self.at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        self.sent.append((delivery, content))
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def run(here: Here, seconds: float) -> None:
    async def main() -> None:
        task = asyncio.create_task(here.notifier.run())
        here.roll_back()
        await asyncio.sleep(seconds)
        task.cancel()

    virtual_clock.run(main())


def test_it_is_tried_again_with_longer_and_longer_waits_and_the_same_id() -> None:
    send = Scripted(AGAIN, AGAIN, AGAIN, OK)
    here = Here(send)
    run(here, 1000)
    waits = [later - earlier for earlier, later in zip(send.at, send.at[1:], strict=False)]
    assert all(delay * 0.79 <= wait <= delay * 1.21 for delay, wait in zip(DELAYS, waits, strict=False))
    assert len({delivery for delivery, _ in send.sent}) == 1
    assert here.counted == {"ops retried": 3, "ops sent": 1}


def test_a_receiver_that_asks_for_time_gets_it() -> None:
    send = Scripted(Reply(False, True, "it responded with 429", 120.0), OK)
    run(Here(send), 1000)
    assert send.at[1] - send.at[0] == pytest.approx(120.0)


def test_it_gives_up_after_a_while() -> None:
    send = Scripted(AGAIN)
    here = Here(send)
    run(here, 7200)
    assert len(send.at) == len(DELAYS) + 1
    assert here.counted == {"ops retried": len(DELAYS), "ops expired": 1}


def test_a_refusal_is_not_repeated() -> None:
    here = Here(Scripted(NO))
    run(here, 7200)
    assert here.counted == {"ops refused": 1}


def test_what_waited_for_longer_than_an_hour_is_no_news() -> None:
    send = Scripted(AGAIN)
    here = Here(send)

    async def main() -> None:
        task = asyncio.create_task(here.notifier.run())
        for number in range(20):
            here.roll_back(f"m{number}")
        await asyncio.sleep(4000)
        send.replies = [OK]
        here.roll_back("news")
        await asyncio.sleep(1000)
        task.cancel()

    virtual_clock.run(main())
    assert here.counted["ops sent"] == 1 and here.counted["ops expired"] == 20
    assert json.loads(send.sent[-1][1])["name"] == "news"


def test_a_slow_destination_holds_up_nobody_and_its_queue_is_bounded() -> None:
    send = Scripted(OK, seconds=1e6)
    here = Here(send)

    async def main() -> None:
        task = asyncio.create_task(here.notifier.run())
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        for number in range(MOST + 10):
            here.roll_back(f"m{number}")
        assert asyncio.get_running_loop().time() == began
        await here.notifier.flush(3)
        assert asyncio.get_running_loop().time() == began + 3
        task.cancel()

    virtual_clock.run(main())
    assert here.counted["ops dropped"] == 10
    assert here.counted["ops lost"] == MOST


def test_at_the_end_nobody_waits_for_a_destination_that_is_down() -> None:
    here = Here(Scripted(AGAIN))

    async def main() -> None:
        task = asyncio.create_task(here.notifier.run())
        here.roll_back()
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        await here.notifier.flush(3)
        assert asyncio.get_running_loop().time() == began
        task.cancel()

    virtual_clock.run(main())
    assert here.counted["ops lost"] == 1


@pytest.mark.parametrize("failure", ["missing", "no key", "forbidden"])
def test_a_secret_that_cannot_be_used_yet_is_read_again(failure: str, caplog: pytest.LogCaptureFixture) -> None:
    class Late(Secrets):
        async def get(self, kind: object, namespace: str, name: str) -> dict[str, object] | None:
            found = await super().get(kind, namespace, name)
            if self.reads > 2:
                return {"data": {"url": base64.b64encode(b"http://x").decode()}}
            if failure == "forbidden":
                raise Forbidden(403, "Forbidden", "may not")
            return None if failure == "missing" else found

    here = Here(Scripted(OK), Late(), secret="slack")
    run(here, 1000)
    assert here.counted == {"ops retried": 2, "ops sent": 1}
    assert 'the Secret "slack" in namespace "sluicegate-system"' in caplog.text


async def test_the_address_is_in_no_log_line(receiver: Receivers, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "asyncio"):  # cli/commands/run.py sets the same levels.
        logging.getLogger(name).setLevel(logging.WARNING)
    receiver.answers = [web.Response(status=404, text="no")]
    here = Here(secrets=Secrets(url=receiver.url), secret="slack")
    task = asyncio.create_task(here.notifier.run())
    here.roll_back()
    here.roll_back()
    await here.notifier.flush(10)
    task.cancel()
    assert here.counted == {"ops refused": 1, "ops sent": 1}
    # This excludes the records of the receiver.
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("aiohttp")]
    assert any("it responded with 404" in our for our in ours)
    assert not [our for our in ours if "verysecret" in our]
    assert "verysecret" not in repr(Receiver(receiver.url))


def test_an_unexpected_error_stops_nothing() -> None:
    async def broken(*_: Any) -> Reply:
        raise RuntimeError("http://x/verysecret")

    here = Here(broken)

    async def main() -> None:
        task = asyncio.create_task(here.notifier.run())
        here.roll_back()
        await asyncio.sleep(1)
        here.roll_back()
        await asyncio.sleep(1)
        assert not task.done()
        task.cancel()

    virtual_clock.run(main())
    assert here.counted == {"ops refused": 2}
