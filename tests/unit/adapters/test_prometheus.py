"""The Prometheus client against a server with its query API."""

import asyncio
import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sluicegate.adapters.mlflow.credentials import Credentials
from sluicegate.adapters.prometheus import Prometheus, PrometheusEndpoint, PrometheusError, credentials_of

from tests.support.certificate import self_signed
from tests.support.loopback import Handler, serving


def success(kind: str, result: Any) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": {"resultType": kind, "result": result}})

    return handle


def failure(status: int, kind: str, error: str) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response({"status": "error", "errorType": kind, "error": error}, status=status)

    return handle


async def ask(handler: Handler, query: str = "up", **credentials: str) -> float:
    prometheus = Prometheus()
    try:
        async with serving(handler) as address:
            endpoint = PrometheusEndpoint(f"http://{address}", Credentials(**credentials))
            return await prometheus.number(endpoint, query, 5)
    finally:
        await prometheus.aclose()


@pytest.mark.parametrize(
    ("kind", "result", "value"),
    [
        ("scalar", [1, "2.5"], 2.5),
        ("vector", [{"metric": {"pod": "a"}, "value": [1, "0.25"]}], 0.25),
    ],
)
async def test_one_number(kind: str, result: Any, value: float) -> None:
    assert await ask(success(kind, result)) == value


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (success("vector", []), "has no result"),
        (success("vector", [{"metric": {}, "value": [1, "1"]}] * 2), "2 series. Aggregate them to one number"),
        (success("vector", [{"metric": {}, "value": [1, "NaN"]}]), "division by zero"),
        (success("vector", [{"metric": {}, "value": [1, "+Inf"]}]), "division by zero"),
        (success("vector", [{"metric": {}, "value": "x"}]), "is the URL of a Prometheus server"),
        (success("matrix", []), "returned a matrix"),
        (failure(400, "bad_data", "parse error: unexpected end of input"), "rejected the query: parse error"),
        (failure(503, "timeout", "query timed out"), r"failed \(503\): query timed out"),
        (failure(401, "", ""), "requires credentials, and none are set"),
    ],
)
async def test_no_number(handler: Handler, says: str) -> None:
    with pytest.raises(PrometheusError, match=says):
        await ask(handler)


async def test_what_is_no_prometheus() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>login</html>", content_type="text/html")

    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"})

    async def hangs(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    for handler in (page, elsewhere):
        with pytest.raises(PrometheusError, match="is the URL of a Prometheus server"):
            await ask(handler)
    prometheus = Prometheus()
    async with serving(hangs) as address:
        endpoint = PrometheusEndpoint(f"http://{address}")
        with pytest.raises(PrometheusError, match=r"no response within 0.2 s"):
            await prometheus.query(endpoint, "up", 0.2)
    with pytest.raises(PrometheusError, match="cannot be reached"):
        await prometheus.query(endpoint, "up", 5)
    with pytest.raises(PrometheusError, match="is not a URL"):
        await prometheus.query(PrometheusEndpoint("http://p:port"), "up", 5)
    await prometheus.aclose()


async def test_a_path_before_the_api_and_a_long_query() -> None:
    seen: list[tuple[str, str, str]] = []

    async def handle(request: web.Request) -> web.Response:
        query = request.query.get("query") or (await request.post()).get("query")
        seen.append((request.method, request.path, str(query)))
        return web.json_response({"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}})

    prometheus = Prometheus()
    async with serving(handle) as address:
        endpoint = PrometheusEndpoint(f"http://{address}/prom/")
        await prometheus.number(endpoint, "a{b='ü+ &'}", 5)
        await prometheus.number(endpoint, "a" * 3000, 5)
    await prometheus.aclose()
    assert seen == [
        ("GET", "/prom/api/v1/query", "a{b='ü+ &'}"),
        ("POST", "/prom/api/v1/query", "a" * 3000),
    ]


async def test_logging_in() -> None:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response({"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}})

    await ask(handle, username="me", password="pass word")
    await ask(handle, token="abc")
    await ask(handle)
    assert seen == [f"Basic {base64.b64encode(b'me:pass word').decode()}", "Bearer abc", ""]
    with pytest.raises(PrometheusError, match="refused the credentials") as error:
        await ask(failure(403, "", ""), token="hush-hush")
    assert "hush" not in str(error.value)


async def test_tls(tmp_path: Path) -> None:
    key, certificate = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    prometheus = Prometheus()
    async with serving(success("scalar", [1, "7"]), tls=context) as address:
        trusting = PrometheusEndpoint(f"https://{address}", Credentials(ca_pem=certificate.read_text()))
        assert await prometheus.number(trusting, "up", 5) == 7
        with pytest.raises(PrometheusError, match=r"Put the certificate of its CA into the key ca\.crt of the Secret"):
            await prometheus.number(PrometheusEndpoint(f"https://{address}"), "up", 5)
    await prometheus.aclose()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "none of the keys"),
        ({"username": b"a"}, "username and password are required together"),
        ({"tls.key": b"a"}, "tls.crt and tls.key are required together"),
        ({"token": b"a\nb"}, "an HTTP header does not allow"),
        ({"token": b"\xff"}, "not UTF-8"),
    ],
)
def test_secrets_of_no_use(data: dict[str, bytes], says: str) -> None:
    with pytest.raises(PrometheusError, match=says) as error:
        credentials_of(data, 'The Secret "prom" in namespace "shop"')
    assert str(error.value).startswith('The Secret "prom" in namespace "shop"')


def test_secrets() -> None:
    assert credentials_of({"token": b"abc\n"}, "It") == Credentials(token="abc")
    assert credentials_of({"username": b"a", "password": b"b", "ca.crt": b"x"}, "It").present
