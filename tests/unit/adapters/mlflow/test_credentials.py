"""Client certificates and service-account tokens, against a server on loopback.

The server requires them. No message may contain their values.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.adapters.mlflow.credentials import Credentials
from sluicegate.adapters.mlflow.http import RegistryEndpoint, make_client
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.adapters.mlflow.registry import MlflowRegistry
from sluicegate.api.reasons import Reason
from sluicegate.config.settings import build
from sluicegate.core.models.resolution import ResolutionError
from sluicegate.core.models.uri import parse
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.registry.registries import Registries

from tests.support.transport import StreamingTransport
from tools.localcluster.pki import Pki

ANSWER = {"model_version": {"name": "iris", "version": "1", "source": "s3://b/x"}, "artifact_uri": "s3://b/x"}
REF = parse("models:/iris/1")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Create two authorities, a server certificate and three client certificates.

    The other authority issues the certificate of `stranger`.
    """
    made = Pki(tmp_path_factory.mktemp("pki"))
    for authority in ("ca", "other"):
        made.authority(authority)
    made.issue("server", "/CN=127.0.0.1", names="IP:127.0.0.1")
    for name in ("first", "second"):
        made.issue(name, f"/CN={name}")
    made.issue("stranger", "/CN=stranger", authority="other")
    return made


@asynccontextmanager
async def registry(pki: Pki, seen: list[str]) -> AsyncIterator[str]:
    """Run a registry of one version that requires a certificate of `ca`.

    It records the names of its clients.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki.crt("ca"))
    context.load_cert_chain(pki.crt("server"), pki.key("server"))
    context.verify_mode = ssl.CERT_REQUIRED

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        ((_, name),) = request.transport.get_extra_info("peercert")["subject"][0]
        seen.append(name)
        return web.json_response(ANSWER)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Cluster:
    """A cluster with one Secret."""

    def __init__(self, **data: bytes | str) -> None:
        self.data = data

    async def get(self, kind: object, namespace: str, name: str) -> dict[str, Any]:
        values = {key: each if isinstance(each, bytes) else each.encode() for key, each in self.data.items()}
        return {"data": {key: base64.b64encode(each).decode() for key, each in values.items()}}


def login(pki: Pki, name: str) -> dict[str, bytes | str]:
    """Return the data of a kubernetes.io/tls Secret, with the server's authority."""
    files = {"tls.crt": pki.crt(name), "tls.key": pki.key(name), "ca.crt": pki.crt("ca")}
    return {key: Path(path).read_text() for key, path in files.items()}


async def test_a_client_certificate_lets_in_and_a_rotated_one_is_taken_at_the_next_look(
    pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    async with registry(pki, seen) as url:
        settings = build([("test", {"registries": {"default": {"trackingUri": url, "secret": "mlflow"}}})])
        cluster, pool = Cluster(**login(pki, "first")), RegistryPool()
        registries = Registries(cast(KubeClient, cluster), settings)

        async def ask() -> None:
            found = await pool.resolve(await registries.endpoint(registries.configured("default")), REF)
            assert found.source == "s3://b/x"

        await ask()
        cluster.data = login(pki, "second")
        await ask()
        together = {
            "MLFLOW_TRACKING_CLIENT_CERT_PEM": "".join(
                Path(each).read_text() for each in (pki.crt("first"), pki.key("first"))
            )
        }
        cluster.data = {**together, "ca.crt": Path(pki.crt("ca")).read_text()}
        await ask()
        assert seen == ["first"] * 2 + ["second"] * 2 + ["first"] * 2, "one for the version, one for its artifacts"
        wrong: list[tuple[dict[str, bytes | str], Reason, str]] = [
            (login(pki, "stranger"), Reason.REGISTRY_UNREACHABLE, "Cannot reach"),
            ({"ca.crt": Path(pki.crt("ca")).read_text()}, Reason.REGISTRY_UNREACHABLE, "Cannot reach"),
            (
                {**login(pki, "first"), "ca.crt": Path(pki.crt("other")).read_text()},
                Reason.REGISTRY_UNREACHABLE,
                "ca.crt",
            ),
            (
                {**login(pki, "first"), "tls.key": Path(pki.key("second")).read_text()},
                Reason.SECRET_INVALID,
                "not valid PEM",
            ),
        ]
        for data, reason, words in wrong:
            cluster.data = data
            with pytest.raises(ResolutionError) as caught:
                await ask()
            assert caught.value.failure.reason == reason, caught.value
            assert words in caught.value.failure.message
        cluster.data = login(pki, "first")
        await ask()
        await pool.aclose()
    for name in ("first", "second", "stranger"):
        secret = Path(pki.key(name)).read_text().splitlines()[1]
        assert secret not in caplog.text


def test_a_service_accounts_secret_logs_in_with_its_token_and_trusts_as_ever() -> None:
    data = {"token": b"header.payload.signature", "namespace": b"ml", "ca.crt": b"of the API server"}
    assert Credentials.from_secret(data) == Credentials(token="header.payload.signature")
    named = {**data, "MLFLOW_TRACKING_TOKEN": b"named"}
    assert Credentials.from_secret(named) == Credentials(token="named")


VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=40).filter(
    lambda value: value not in "MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD MLFLOW_TRACKING_TOKEN"
)


@given(
    password=VALUE,
    token=VALUE,
    status=st.sampled_from([302, 400, 401, 403, 404, 429, 500, 503]),
    shape=st.sampled_from(["json", "html", "location"]),
)
def test_no_value_is_said_whatever_a_server_answers(password: str, token: str, status: int, shape: str) -> None:
    for credentials in (Credentials("someone", password), Credentials(token=token)):
        secret = credentials.password or credentials.token or ""

        def answer(
            request: httpx.Request, credentials: Credentials = credentials, secret: str = secret
        ) -> httpx.Response:
            told = f"{secret} and {request.headers.get('authorization')}"
            body = json.dumps({"error_code": "BAD", "message": told}) if shape == "json" else f"<html>{told}"
            headers = {"location": f"https://sso/{told}"} if shape == "location" else {}
            return httpx.Response(status, text=body, headers=headers)

        endpoint = RegistryEndpoint("default", "http://mlflow", credentials)
        said = asyncio.run(refused(endpoint, answer))
        own = f"{endpoint} {Reason.REGISTRY_ERROR}"
        assert secret in own or secret not in said.replace("MLFLOW_TRACKING", "")


async def refused(endpoint: RegistryEndpoint, answer: Any) -> str:
    client = MlflowRegistry(endpoint, lambda each: make_client(each, StreamingTransport(answer)))
    try:
        with pytest.raises(ResolutionError) as caught:
            await client.view("iris")
    finally:
        await client.aclose()
    return f"{caught.value} {caught.value.failure!r} {endpoint!r}"
