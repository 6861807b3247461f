"""The faults of a registry, and the message for each.

Tests of successful responses use a real server (tests/registry).
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sluicegate.adapters import clients
from sluicegate.adapters.bounded import MAX_RESPONSE_BYTES
from sluicegate.adapters.clients import MAX_CLIENTS
from sluicegate.adapters.mlflow import registry as mlflow
from sluicegate.adapters.mlflow.credentials import Credentials
from sluicegate.adapters.mlflow.http import RegistryEndpoint, make_client
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.adapters.mlflow.registry import MlflowRegistry
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure
from sluicegate.core.models.uri import parse

from tests.support.transport import StreamingTransport

URL = "http://user:hunter2@mlflow.ml.svc:5000/base/"
Handler = Callable[[httpx.Request], Any]


def registry(handler: Handler, endpoint: RegistryEndpoint | None = None) -> MlflowRegistry:
    transport = StreamingTransport(handler)
    return MlflowRegistry(endpoint or RegistryEndpoint("default", URL), lambda e: make_client(e, transport))


async def failure(handler: Handler, uri: str = "models:/iris/1") -> ResolutionFailure:
    client = registry(handler)
    with pytest.raises(ResolutionError) as caught:
        await client.resolve(parse(uri))
    await client.aclose()
    assert "hunter2" not in str(caught.value) and caught.value.__cause__ is None
    return caught.value.failure


def answer(status: int, text: str, kind: str = "text/html", **headers: str) -> Handler:
    return lambda _: httpx.Response(status, text=text, headers={"content-type": kind, **headers})


def raising(error: Exception) -> Handler:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    return handler


def untrusted() -> httpx.ConnectError:
    error = httpx.ConnectError("[SSL]")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    return error


VERSION = '{"model_version": {"name": "iris", "version": "%s", "source": "s3://b/x", "status": "%s"}}'


@pytest.mark.parametrize(
    ("handler", "reason", "transient", "words"),
    [
        (answer(200, "<!doctype html><p>login"), "RegistryInvalidAnswer", True, "an HTML page"),
        (answer(200, ""), "RegistryInvalidAnswer", True, "not JSON"),
        (answer(200, "\xff\xfe{"), "RegistryInvalidAnswer", True, "not JSON"),
        (answer(200, "[" * 100_000), "RegistryInvalidAnswer", True, "JSON"),
        (answer(200, "[1]"), "RegistryInvalidAnswer", True, "unexpected JSON"),
        (answer(200, "{}"), "RegistryInvalidAnswer", True, "model_version"),
        (answer(200, VERSION % ("one", "READY")), "RegistryInvalidAnswer", True, "unexpected JSON"),
        (answer(200, " " * (MAX_RESPONSE_BYTES + 1)), "RegistryInvalidAnswer", True, "4 MiB"),
        (answer(200, VERSION % (1, "PENDING_REGISTRATION")), "VersionNotReady", True, "PENDING_REGISTRATION"),
        (answer(200, VERSION % (1, "FAILED_REGISTRATION")), "VersionNotReady", False, "Register the model again"),
        (
            answer(302, "", location="https://u:hunter2@sso/?code=hunter2"),
            "RegistryInvalidAnswer",
            True,
            "https://sso/",
        ),
        (answer(404, "<html>Not Found</html>"), "RegistryInvalidAnswer", True, "404"),
        (answer(401, "<html>You are not authenticated"), "RegistryUnauthorized", False, "none are configured"),
        (
            answer(403, "Invalid Host header - possible DNS rebinding attack detected"),
            "RegistryHostRefused",
            False,
            "ml.svc:5000",
        ),
        (answer(403, "Permission denied"), "RegistryForbidden", False, "READ"),
        (
            answer(500, '{"error_code": "INTERNAL_ERROR", "message": "at http://u:hunter2@db"}'),
            "RegistryError",
            True,
            "http://db",
        ),
        (answer(502, "<html>Bad Gateway</html>"), "RegistryError", True, "502"),
        (answer(429, "slow down"), "RegistryError", True, "429"),
        (answer(400, '{"error_code": "BAD_REQUEST", "message": "what?"}'), "RegistryError", True, "BAD_REQUEST"),
        (raising(httpx.ConnectTimeout("")), "RegistryUnreachable", True, "within 3 s"),
        (raising(httpx.ReadTimeout("")), "RegistryUnreachable", True, "within 10 s"),
        (raising(httpx.ConnectError("Name or service not known")), "RegistryUnreachable", True, "not known"),
        (raising(untrusted()), "RegistryUnreachable", True, "ca.crt"),
        (raising(httpx.RemoteProtocolError("")), "RegistryUnreachable", True, "RemoteProtocolError"),
    ],
)
async def test_faults(handler: Handler, reason: str, transient: bool, words: str) -> None:
    said = await failure(handler)
    assert (said.reason, said.transient) == (reason, transient), said
    assert words in said.message and len(said.message) < 900


async def test_an_inline_registry_is_named_by_its_url_once() -> None:
    url = "http://mlflow.risk.svc:5000"
    client = registry(raising(httpx.ConnectError("refused")), RegistryEndpoint(url, url))
    with pytest.raises(ResolutionError) as caught:
        await client.resolve(parse("models:/iris/1"))
    await client.aclose()
    assert caught.value.failure.message.count(url) == 1


async def test_a_server_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "TOTAL_SECONDS", 0.05)

    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    said = await failure(never)
    assert (said.reason, said.transient) == (Reason.REGISTRY_UNREACHABLE, True)


def scripted(routes: dict[str, tuple[int, str]]) -> Handler:
    def handler(request: httpx.Request) -> httpx.Response:
        for suffix, (status, text) in routes.items():
            if request.url.path.endswith(suffix):
                return httpx.Response(status, text=text)
        raise AssertionError(request.url)

    return handler


MISSING = '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": ""}'


async def test_the_courtesy_list_may_fail() -> None:
    routes = {"versions/get": (404, MISSING), "models/get": (404, MISSING), "models/search": (500, "oops")}
    said = await failure(scripted(routes))
    assert said.reason is Reason.MODEL_NOT_FOUND and "It lists no models" in said.message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("file:///srv/x", "a directory of the MLflow server"),
        ("/srv/x", "a directory of the MLflow server"),
        ("", "no artifacts recorded"),
        ("https://u:hunter2@h/x", "https://h/x"),
        ("image:///etc", "which pods cannot fetch"),
        ("s3://b/../x", "which pods cannot fetch"),
        ("models:/iris/1", "a chain that is too long"),
    ],
)
async def test_sources_that_no_pod_may_fetch(source: str, words: str) -> None:
    version = VERSION % (1, "READY")
    routes = {"versions/get": (200, version), "get-download-uri": (200, json.dumps({"artifact_uri": source}))}
    said = await failure(scripted(routes))
    assert said.reason is Reason.SOURCE_UNSUPPORTED and words in said.message


async def test_runs_of_mlflow_2_have_artifacts_only() -> None:
    routes = {
        "runs/get": (200, '{"run": {"info": {"run_id": "r1", "experiment_id": "0", "artifact_uri": "s3://b/r1"}}}'),
        "logged-models/search": (404, "<html>"),
        "/version": (200, "2.22.0"),
        "artifacts/list": (200, '{"files": [{"path": "model/MLmodel"}]}'),
    }
    client = registry(scripted(routes))
    assert (await client.resolve(parse("runs:/r1/model"))).source == "s3://b/r1/model"
    await client.aclose()


async def sent(endpoint: RegistryEndpoint) -> httpx.Request:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(500)

    client = registry(handler, endpoint)
    with pytest.raises(ResolutionError):
        await client.resolve(parse("models:/a b/1"))
    await client.aclose()
    return seen[0]


async def test_how_it_logs_in() -> None:
    def basic(pair: bytes) -> str:
        return "Basic " + base64.b64encode(pair).decode()

    both = Credentials(username="u", password="pä", token="t")
    request = await sent(RegistryEndpoint("d", URL, both))
    assert request.headers["authorization"] == basic("u:pä".encode())
    assert str(request.url) == "http://mlflow.ml.svc:5000/base/api/2.0/mlflow/model-versions/get?name=a+b&version=1"
    request = await sent(RegistryEndpoint("d", URL, Credentials(token="t")))
    assert request.headers["authorization"] == "Bearer t"
    request = await sent(RegistryEndpoint("d", URL))
    assert request.headers["authorization"] == basic(b"user:hunter2")
    assert "authorization" not in (await sent(RegistryEndpoint("d", "http://h"))).headers


@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2@h/db", "mlruns", "", "http://", "http://h/?x=hunter2", "http://h:port"]
)
def test_a_tracking_uri_that_is_none(url: str) -> None:
    with pytest.raises(ResolutionError) as caught:
        make_client(RegistryEndpoint("d", url))
    assert "http:// or https://" in str(caught.value) and "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "none of the keys"),
        ({"other": b"x"}, "none of the keys"),
        ({"MLFLOW_TRACKING_USERNAME": b"u"}, "MLFLOW_TRACKING_PASSWORD is missing"),
        ({"MLFLOW_TRACKING_PASSWORD": b"hunter2"}, "MLFLOW_TRACKING_USERNAME is missing"),
        ({"MLFLOW_TRACKING_TOKEN": b"hunter2\xff"}, "not UTF-8"),
        ({"MLFLOW_TRACKING_TOKEN": b"hunter2\r\nX: y"}, "an HTTP header does not allow"),
        ({"tls.crt": b"hunter2"}, "tls.key is missing"),
        ({"tls.crt": b"hunter2", "tls.key": b"hunter2"}, "not valid PEM"),
        ({"ca.crt": b"hunter2"}, "not valid PEM"),
    ],
)
def test_secrets_that_are_no_use(data: dict[str, bytes], words: str) -> None:
    with pytest.raises(ResolutionError) as caught:
        Credentials.from_secret(data, 'Secret "s"')
    assert caught.value.failure.reason is Reason.SECRET_INVALID
    assert words in str(caught.value) and 'Secret "s"' in str(caught.value) and "hunter2" not in str(caught.value)


def test_credentials_hide_their_values() -> None:
    data = {"MLFLOW_TRACKING_USERNAME": b"u\n", "MLFLOW_TRACKING_PASSWORD": b"hunter2\n"}
    credentials = Credentials.from_secret(data)
    assert credentials == Credentials(username="u", password="hunter2")
    shown = f"{credentials!r} {credentials} {RegistryEndpoint('d', URL, credentials)!r}"
    assert "hunter2" not in shown and "password=***" in shown


def test_certificates_may_be_left_unchecked() -> None:
    assert isinstance(Credentials().ssl_context(), ssl.SSLContext)
    make_client(RegistryEndpoint("d", "https://h", verify=False))


class Pool:
    """A `RegistryPool` that counts its clients."""

    def __init__(self) -> None:
        self.made: list[httpx.AsyncClient] = []
        self.pool = RegistryPool(self.make)

    def make(self, endpoint: RegistryEndpoint) -> httpx.AsyncClient:
        self.made.append(make_client(endpoint, StreamingTransport(answer(500, ""))))
        return self.made[-1]


async def test_the_pool_shares_and_renews(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool()
    old, new = (RegistryEndpoint("d", "http://h", Credentials(token=token)) for token in "ab")
    async with pool.pool.lease(old) as first:
        async with pool.pool.lease(old) as second:
            assert first is second
        monkeypatch.setattr(clients, "IDLE_SECONDS", -1.0)
        async with pool.pool.lease(new) as third:
            assert third is not first
        assert [client.is_closed for client in pool.made] == [False, False]
    async with pool.pool.lease(new):
        assert [client.is_closed for client in pool.made] == [True, False]
    await pool.pool.aclose()
    assert all(client.is_closed for client in pool.made)


async def test_the_pool_closes_what_was_long_unused() -> None:
    pool = Pool()
    for number in range(MAX_CLIENTS + 3):
        with pytest.raises(ResolutionError):
            await pool.pool.resolve(RegistryEndpoint("inline", f"http://h{number}"), parse("models:/a/1"))
    assert [client.is_closed for client in pool.made].count(True) == 3
    assert pool.made[0].is_closed and not pool.made[-1].is_closed
    async with pool.pool.lease(RegistryEndpoint("inline", "http://h9")):
        await pool.pool.aclose()
        assert pool.made[-1].is_closed
    assert all(client.is_closed for client in pool.made)
