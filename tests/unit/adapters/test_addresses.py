"""Hostile addresses: an adapter raises its own error and nothing else.

A resource can name any address. No request leaves this machine. Names are encoded as the C library encodes them, and
then do not exist. Connections are refused.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sluicegate.adapters.bounded import InvalidAddress, parse_address
from sluicegate.adapters.mlflow.credentials import Credentials
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.adapters.notifications import InvalidReceiver, Receiver, post
from sluicegate.adapters.pods.http import PodHttp, PodRequestFailed
from sluicegate.adapters.prometheus import Prometheus, PrometheusEndpoint, PrometheusError, credentials_of
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import ResolutionError

HOSTILE = [
    "http://xn--a",
    "http://xn--a.example/path",
    "http://XN--A",
    "http://a.xn--0000h",
    "http://xn--",
    "http://h:0",
    "http://h:65536",
    "http://h:99999",
    "http://h:4294967296",
    "http://h:" + "9" * 400,
    "http://h:٣",
    "http://h:-1",
    "http://h:port",
    "http://" + "a" * 64,
    "http://" + "a." * 200 + "a",
    "http://a..b",
    "http://.",
    "http://..",
    "http://-",
    "http://[::1",
    "http://[::1%25lo]:9",
    "http://[fe80::1%eth0]",
    "http://[v1.x]",
    "http://::1",
    "http://user:hunter2@xn--a",
    "http://user:hunter2@h:99999",
    "http://u:hunter2/x@h",
    "http://h@@i",
    "http://%00",
    "http://%68",
    "http://a%0d%0ab",
    "http://a\r\nHost: b",
    "http://a\tb",
    "http://a\x7f",
    "http://a\x00",
    "http://a b",
    "http://é",
    "http://\u2488com",
    "http://\u00ad",
    "http://\ud800",
    "http://h/\ud800",
    "http://h/\u202e",
    "http://ß.example",
    "http://٣",
    "http://256.256.256.256",
    "http://0x7f.1.2.3.4",
    "http://h?x=hunter2",
    "http://h#hunter2",
    "http://h\\@i",
    "http:h",
    "http:///h",
    "https://",
    "http://",
    "//h",
    "ftp://h",
    "",
    "http://h/" + "a" * 70_000,
    "http://h/" + "%2e%2e/" * 50,
    "http://h/%zz",
]
PIECES = st.sampled_from(
    [
        "xn--",
        "xn--a",
        "a",
        "ä",
        "-",
        ".",
        "..",
        ":",
        "::1",
        "[",
        "]",
        "%",
        "%25",
        "%00",
        "@",
        "/",
        "\\",
        "?",
        "#",
        "99999",
        "0",
        "\r\n",
        "\t",
        "\x00",
        "\u200d",
        "\u2488",
        "\ud800",
        "\u202e",
        "٣",
        "_",
        "a" * 64,
        "user:hunter2@",
    ]
)
ADDRESSES = st.builds(
    "{}{}".format,
    st.sampled_from(["http://", "https://", "http:", "//", ""]),
    st.lists(PIECES | st.text(max_size=4), min_size=1, max_size=6).map("".join) | st.text(max_size=80),
)


@pytest.fixture(autouse=True, scope="module")
def offline() -> Iterator[None]:
    """Let no name exist, and refuse every connection.

    The code that rejects an address before that is real.
    """
    patch = pytest.MonkeyPatch()
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        real(host, port, flags=socket.AI_NUMERICHOST)  # This encodes the name and parses the port, and sends no query.
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def sock_connect(self: Any, sock: Any, address: Any) -> None:
        socket.socket.getsockname(sock)
        if not 0 <= address[1] <= 65535:
            raise OverflowError("port must be 0-65535.")
        raise ConnectionRefusedError(111, "Connection refused")

    patch.setattr(socket, "getaddrinfo", getaddrinfo)
    patch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", sock_connect)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        patch.delenv(name, raising=False)
    yield
    patch.undo()


async def registry(address: str) -> None:
    pool = RegistryPool()
    try:
        with pytest.raises(ResolutionError) as caught:
            await pool.view(RegistryEndpoint(address, address, Credentials(token="t")), "churn")
        failure = caught.value.failure
        assert failure.reason is Reason.REGISTRY_UNREACHABLE
        assert "hunter2" not in failure.message and failure.message.isprintable()
        assert len(failure.message) < 900
    finally:
        await pool.aclose()


async def prometheus(address: str) -> None:
    asked = Prometheus()
    try:
        with pytest.raises(PrometheusError) as caught:
            await asked.query(PrometheusEndpoint(address), "up", 5)
        assert "unexpected" not in str(caught.value)
        assert "hunter2" not in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 900
    finally:
        await asked.aclose()


async def notification(address: str) -> None:
    try:
        reply = await post(Receiver(address), b"{}", "1")
    except InvalidReceiver as error:
        words = str(error)
    else:
        assert not reply.sent and reply.again
        words = reply.words
    assert "unexpected" not in words and "hunter2" not in words


async def everywhere(address: str) -> None:
    await registry(address)
    await prometheus(address)
    await notification(address)


@pytest.mark.parametrize("address", HOSTILE, ids=lambda address: ascii(address)[:30])
async def test_a_hostile_address_is_an_error_of_the_adapter(address: str) -> None:
    await everywhere(address)


@settings(max_examples=100, deadline=None)
@given(ADDRESSES)
@example("http://xn--a")
def test_any_address_is_an_error_of_the_adapter(address: str) -> None:
    asyncio.run(everywhere(address))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.text(max_size=20))
def test_any_address_of_a_pod_is_a_pods_trouble(address: str, path: str) -> None:
    async def main() -> None:
        pods = PodHttp()
        try:
            with pytest.raises(PodRequestFailed) as caught:
                await pods.get(address, f"/{path}", 5)
            assert str(caught.value).isprintable()
        finally:
            await pods.aclose()

    asyncio.run(main())


@settings(max_examples=200, deadline=None)
@given(ADDRESSES)
def test_parsing_accepts_or_says_why(address: str) -> None:
    try:
        url = parse_address(address)
    except InvalidAddress as error:
        assert "hunter2" not in str(error) and str(error).isprintable()
        return
    assert url.scheme in ("http", "https")
    assert url.port is None or 0 < url.port < 65536
    if ":" not in url.host:
        url.raw_host.decode("ascii").encode("idna")  # The socket module encodes names in the same way.


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://mlflow.mlflow.svc:5000", "mlflow.mlflow.svc"),
        ("https://MLflow.example.com/base/", "mlflow.example.com"),
        ("http://my_host", "my_host"),
        ("http://10.0.0.1:80", "10.0.0.1"),
        ("http://[fd00::1]:5000", "fd00::1"),
        ("http://mlflow.example.com.", "mlflow.example.com."),
        ("https://bücher.example", "xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_good_addresses_stay_good(address: str, host: str) -> None:
    assert parse_address(address).raw_host.decode() == host


async def test_the_message_names_the_field_and_the_value() -> None:
    async def message(name: str, address: str) -> str:
        pool = RegistryPool()
        with pytest.raises(ResolutionError) as caught:
            await pool.view(RegistryEndpoint(name, address), "churn")
        await pool.aclose()
        assert not caught.value.failure.transient
        return caught.value.failure.message

    said = await message("http://xn--a", "http://xn--a")
    assert said.startswith(
        "spec.model.inlineRegistry.trackingUri: 'http://xn--a' cannot be used, because its host is not a"
    )
    said = await message("team", "http://u:hunter2@h:99999")
    assert said.startswith("settings.registries.team.trackingUri: 'http://h:99999' cannot be used, because its port is")


@pytest.mark.parametrize("pem", ["é", "\0", "x", "-----BEGIN CERTIFICATE-----\né\n-----END CERTIFICATE-----"])
async def test_a_certificate_that_is_none_is_an_error_of_the_secret(pem: str) -> None:
    with pytest.raises(ResolutionError) as caught:
        Credentials.from_secret({"ca.crt": pem.encode()})
    assert caught.value.failure.reason is Reason.SECRET_INVALID
    pool = RegistryPool()
    with pytest.raises(ResolutionError):
        await pool.view(RegistryEndpoint("d", "https://h", ca_pem=pem), "churn")
    await pool.aclose()
    asked = Prometheus()
    with pytest.raises(PrometheusError, match="not valid PEM"):
        await asked.query(PrometheusEndpoint("https://h", credentials_of({"ca.crt": pem.encode()}, "It")), "up", 5)
    await asked.aclose()
    with pytest.raises(InvalidReceiver, match="not valid PEM"):
        await post(Receiver("https://h", ca_pem=pem), b"", "1")


@pytest.mark.parametrize("token", ["t\r\nX: y", "é", "\0", "\u2028", " "])
async def test_a_header_that_http_cannot_carry_is_an_error_of_the_adapter(token: str) -> None:
    pool = RegistryPool()
    with pytest.raises(ResolutionError) as caught:
        await pool.view(RegistryEndpoint("d", "http://127.0.0.1:9", Credentials(token=f"hunter2{token}")), "churn")
    await pool.aclose()
    assert "hunter2" not in str(caught.value)
    asked = Prometheus()
    with pytest.raises(PrometheusError) as error:
        await asked.query(PrometheusEndpoint("http://127.0.0.1:9", Credentials(token=f"hunter2{token}")), "up", 5)
    await asked.aclose()
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("query", ["\ud800", "a" * 3000 + "\ud800", "\0", "\r\n"])
async def test_a_query_that_no_url_can_carry_is_an_error_of_the_adapter(query: str) -> None:
    asked = Prometheus()
    with pytest.raises(PrometheusError):
        await asked.query(PrometheusEndpoint("http://127.0.0.1:9"), query, 5)
    await asked.aclose()


async def test_a_closed_client_is_an_error_of_the_adapter() -> None:
    pool = RegistryPool()
    async with pool.lease(RegistryEndpoint("d", "http://127.0.0.1:9")) as client:
        await client.aclose()
        with pytest.raises(ResolutionError) as caught:
            await client.view("churn")
        assert caught.value.failure.reason is Reason.INTERNAL_ERROR
    await pool.aclose()
