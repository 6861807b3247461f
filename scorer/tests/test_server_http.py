"""HTTP/1.1 as real clients send it, and as attackers do.

The tests run on the protocol class, and over real sockets.
"""

import asyncio
import contextlib
import json
import random
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
import uvicorn
from sluicegate_scorer.serve import KEEP_ALIVE, Settings, configure
from sluicegate_scorer.server.http1 import HEAD_BYTES, HEAD_FIELDS, SLICE

from scorer.tests.connection import Recorder, connect, converse, settle, statuses, until
from scorer.tests.test_server_protocol import application, models, split  # noqa: F401  # models is a fixture

UPGRADES = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
    b"connection:upgrade\r\nupgrade: TLS/1.0, h2c\r\n",
    b"Upgrade: a\r\nUpgrade: b\r\nConnection: keep-alive\r\nConnection: upgrade\r\n",
]
JAVA = Path(__file__).parent / "Predict.java"
pytestmark = pytest.mark.filterwarnings("ignore:Operation with range")  # pandas of scikit-learn
INNER = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def requests(generator):
    """Return some requests of random kinds on one connection.

    Returns:
        The requests with an offer to upgrade, and the same requests without it.
    """
    with_offer, plain = b"", b""
    for _ in range(generator.randint(1, 3)):
        body = generator.choice([b"", b"a", INNER, INNER * 3, b"x" * 5000, b"0\r\n\r\n"])
        method = generator.choice([b"POST", b"PUT", b"GET", b"DELETE", b"M-SEARCH"])
        version = generator.choice([b"1.1", b"1.1", b"1.1", b"1.0"])
        framing, sent = b"Content-Length: %d\r\n" % len(body), body
        if generator.random() < 0.4:
            cut = generator.randint(0, len(body))
            pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
            sent = (
                b"".join(b"%x;a=b\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-Trailer: a\r\n\r\n"
            )
            framing = b"Transfer-Encoding: chunked\r\n"
        fields = [b"Host: x\r\n", framing, b"X-Odd:  a \xe9\t b \r\n", b"Empty:\r\n"]
        line = b"%s /p%%20q?%s HTTP/%s\r\n" % (method, b"u" * generator.choice([0, 3, 900]), version)
        offer = generator.choice(UPGRADES)
        place = generator.randint(0, len(fields))
        with_offer += line + b"".join([*fields[:place], offer, *fields[place:]]) + b"\r\n" + sent
        plain += line + b"".join(fields) + b"\r\n" + sent
    return with_offer, plain


def cuts(generator, data):
    places = sorted(generator.sample(range(1, len(data)), min(generator.choice([0, 1, 2, 5, 50]), len(data) - 1)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("seed", range(8))
async def test_ignores_an_upgrade_offer(seed):
    generator = random.Random(seed)
    for _ in range(60):
        offered, plain = requests(generator)
        seen, written = await converse(*cuts(generator, offered))
        expected, _ = await converse(plain)
        assert seen == expected, offered
        assert statuses(written) == [200] * len(expected)


@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_body_is_never_read_as_a_request(upgrade):
    head = b"POST /p HTTP/1.1\r\nHost: x\r\n" + upgrade + b"Content-Length: %d\r\n\r\n" % len(INNER)
    data = head + INNER
    for place in range(1, len(data)):
        seen, _ = await converse(data[:place], data[place:])
        assert [(path, body) for _, path, _, body in seen] == [("/p", INNER)]
    seen, _ = await converse(*(data[n : n + 1] for n in range(len(data))))
    assert [(path, body) for _, path, _, body in seen] == [("/p", INNER)]


def head(size, name=b"X"):
    """Return a request head of exactly this many bytes."""
    start = b"GET /long HTTP/1.1\r\nHost: x\r\n%s: " % name
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("segment", [1 << 20, 65536, 10000, 1500])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (head(HEAD_BYTES), 200),
        (head(HEAD_BYTES + 1), 431),
        (b"GET /" + b"a" * HEAD_BYTES, 431),
        (b"GET / HTTP/1.1\r\n" + b"a" * HEAD_BYTES, 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * HEAD_FIELDS + b"\r\n", 200),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (HEAD_FIELDS + 1) + b"\r\n", 431),
        (b"\r\n" * HEAD_BYTES, 431),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 2 * HEAD_BYTES, 431),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: " + b"a" * 2 * HEAD_BYTES, 431),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + b"T: a\r\n" * HEAD_BYTES, 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 300000\r\n\r\n" + b"a" * 300000 + head(HEAD_BYTES + SLICE + 1), 431),
    ],
    ids=["at the limit", "over it", "line", "name", "fields", "too many", "empty lines", "extension", "trailer",
         "trailers", "after a body"],
)  # fmt: skip
async def test_limits_heads_extensions_and_trailers(data, expected, segment):
    seen, written = await converse(*(data[n : n + segment] for n in range(0, len(data), segment)))
    assert "/long" not in [path for _, path, *_ in seen] or expected == 200
    assert statuses(written)[-1] == expected or b"connection: close" in written


async def test_trailers_do_not_become_headers():
    framing = b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    seen, _ = await converse(framing + b"1\r\na\r\n0\r\nInference-Header-Content-Length: 1\r\n\r\n")
    assert seen == [("POST", "/p", [(b"transfer-encoding", b"chunked")], b"a")]


LINE = b"POST /p HTTP/1.1\r\nHost: x\r\n"
MALFORMED = {
    "length and chunked": LINE + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": LINE + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": LINE + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "list of lengths": LINE + b"Content-Length: 3, 3\r\n\r\nabc",
    "signed length": LINE + b"Content-Length: +3\r\n\r\nabc",
    "folded field": LINE + b"X: a\r\n b\r\n\r\n",
    "folded coding": LINE + b"Transfer-Encoding: a\r\n chunked\r\n\r\n0\r\n\r\n",
    "line ends in LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "field ends in LF": b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "field ends in CR": b"GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
    "unknown coding": LINE + b"Transfer-Encoding: xchunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "chunked is not last": LINE + b"Transfer-Encoding: chunked, gzip\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "space before colon": LINE + b"Content-Length : 3\r\n\r\nabc",
    "chunk ends in LF": LINE + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("upgrade", [b"", UPGRADES[0]], ids=["plain", "upgrade"])
@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_request_is_400_and_ends_the_connection(name, upgrade):
    data = MALFORMED[name].replace(b"Host: x\r\n", b"Host: x\r\n" + upgrade) + INNER
    for segments in ([data], [data[n : n + 1] for n in range(len(data))]):
        seen, written = await converse(*segments)
        assert statuses(written) == [400]
        assert [body for *_, body in seen] in ([], [None])


async def test_refuses_connect():
    for target in (b"host:443", b"/p"):
        seen, written = await converse(b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n" % target + INNER)
        assert (seen, statuses(written)) == ([], [501])


async def test_pipelined_requests_wait_and_keep_their_order():
    """Check that pipelined requests wait unparsed.

    The scope and the task of a request take more than a hundred times its bytes.
    """
    one = b"GET / HTTP/1.1\r\n\r\n"
    app = Recorder()
    connection, transport = connect(app)
    connection.data_received(one * 20000)
    assert transport.paused and len(connection.pipeline) < SLICE // len(one) + 2
    most = 0
    while len(app.requests) < 20000:
        await asyncio.sleep(0)
        most = max(most, len(connection.pipeline))
        assert transport.paused or not connection.behind
    await settle(connection)
    assert most < SLICE // len(one) + 2
    assert bytes(transport.written).count(b"HTTP/1.1 200 OK") == 20000 and not transport.paused
    connection.data_received(INNER)
    await settle(connection)
    assert app.requests[-1][1] == "/smuggled"


async def test_garbage_after_a_request_keeps_its_response():
    seen, written = await converse(INNER + b"garbage\r\n\r\n")
    assert len(seen) == 1 and statuses(written) == [200] and b"connection: close" in written


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (b"GET / HTTP/1.1\r\nHo", None),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nabc", None),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", None),
        (INNER + b"GET / HTTP/1.1\r\nHo", b""),
    ],
    ids=["head", "no byte of the body", "part of the body", "part of a chunk", "second head"],
)
async def test_unfinished_request_is_408(sent, body):
    app = Recorder()
    connection, transport = connect(app, head_seconds=0.01, body_seconds=0.01)
    connection.data_received(sent)
    await until(lambda: statuses(transport.written)[-1:] == [408])
    assert b"x-sluicegate-error: client" in transport.written
    connection.data_received(INNER)
    await settle(connection)
    assert "/smuggled" not in [path for _, path, *_ in app.requests[body is not None :]]


async def test_body_after_the_response_has_the_same_time_limit():
    async def early(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    connection, transport = connect(early, body_seconds=0.01)
    connection.data_received(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
    await until(lambda: transport.closed)
    assert statuses(transport.written) == [200]


async def test_second_request_waits_for_a_slow_response():
    """Check that a slow response keeps its connection open.

    The server must not close a connection on which it still has to send a response.
    """
    go = asyncio.Event()

    async def slow(scope, receive, send):
        await go.wait()
        await Recorder()(scope, receive, send)

    connection, transport = connect(slow, head_seconds=0.01)
    connection.data_received(INNER + INNER[:9])
    await asyncio.sleep(0.05)
    assert not transport.written and not transport.closed
    connection.data_received(INNER[9:])
    go.set()
    await until(lambda: len(statuses(transport.written)) == 2)
    assert statuses(transport.written) == [200, 200] and not transport.closed


async def test_closes_an_idle_connection():
    for sent in (b"", INNER, b"\r\n"):
        connection, transport = connect(Recorder(), idle=0.02)
        connection.data_received(sent)
        await until(lambda: transport.closed)  # noqa: B023
        assert statuses(transport.written) == [200] * (sent == INNER)


async def test_idle_time_starts_at_the_response():
    connection, transport = connect(Recorder(), idle=100)
    connection.data_received(INNER)
    connection._check_idle()
    await settle(connection)
    connection._quiet -= 99
    connection._check_idle()
    assert not transport.closed
    connection._quiet -= 1
    connection._check_idle()
    assert transport.closed


def test_idle_time_exceeds_that_of_gateways():
    """Check that the server keeps idle connections longer than gateways do.

    Envoy keeps idle connections for an hour by default. The side that closes first loses no request.
    """
    assert KEEP_ALIVE > 3600


@contextlib.contextmanager
def serving(app, host, **limits):
    config = configure(app, Settings(host=host, port=0, drain=0, grace=1))
    config.http = type("Limited", (config.http,), limits)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets
    finally:
        server.should_exit = True
        thread.join(20)


@contextlib.contextmanager
def listening(app, **limits):
    with serving(app, "127.0.0.1", **limits) as (server,):
        yield server.getsockname()[1]


def read_all(client):
    client.settimeout(20)
    got = b""
    while data := client.recv(65536):
        got += data
    return got


def has_loopback(family, address):
    try:
        with socket.socket(family) as probe:
            probe.bind((address, 0))
    except OSError:  # a container without IPv6
        return False
    return True


def test_listens_on_every_family_of_the_machine_by_default():
    families = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
    with serving(Recorder(), None) as sockets:
        ports = {each.family: each.getsockname()[1] for each in sockets}
        for family, address in families.items():
            if not has_loopback(family, address):
                continue
            with socket.create_connection((address, ports[family])) as client:
                client.sendall(INNER)
                client.shutdown(socket.SHUT_WR)
                assert statuses(read_all(client)) == [200]


def test_client_that_still_sends_gets_its_431():
    with listening(Recorder()) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * (8 << 20))
        assert statuses(read_all(client)) == [431]


async def test_half_closed_client_gets_its_response():
    for sent in (INNER, INNER * 3, INNER + INNER[:9]):
        connection, transport = connect(Recorder())
        connection.data_received(sent)
        assert connection.eof_received() and not transport.closed
        await settle(connection)
        assert statuses(transport.written) == [200] * sent.count(INNER) and transport.closed
    for sent in (b"", INNER[:9], b"POST /p HTTP/1.1\r\nContent-Length: 2\r\n\r\na"):
        connection, transport = connect(Recorder())
        connection.data_received(sent)
        assert not connection.eof_received()  # A false value makes the event loop close the connection.


def test_half_closed_client_over_a_socket():
    async def slow(scope, receive, send):
        await asyncio.sleep(0.2)
        await Recorder()(scope, receive, send)

    with listening(slow) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(INNER)
        client.shutdown(socket.SHUT_WR)
        assert statuses(read_all(client)) == [200]


def test_drops_a_client_that_reads_nothing():
    ended = threading.Event()

    async def large(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        ended.set()

    with listening(large, stall_seconds=1.0) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(INNER)
        assert ended.wait(30)


def test_java_predicts(models, tmp_path):  # noqa: F811
    """Check the default client of Java.

    It offers h2c with each request, and sends head and body as separate segments.
    """
    java = shutil.which("java")
    assert java, "java is not installed: make java"
    bodies = {"small": split((1, 2, 3)), "large": split(*((n, 2, 3) for n in range(20_000)))}
    for name, body in bodies.items():
        (tmp_path / name).write_text(json.dumps(body))
    with listening(application(models("linear"))) as port:
        url = f"http://127.0.0.1:{port}/invocations"
        command = [java, str(JAVA), url, *(str(tmp_path / name) for name in bodies)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        expected = [httpx.post(url, json=body, timeout=60).text for body in bodies.values()]
    assert done.stdout.splitlines() == [f"200 HTTP_1_1 {response}" for response in expected * 2], done.stderr[-2000:]
