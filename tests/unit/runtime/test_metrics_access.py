"""Who may read /metrics when the setting requires a token."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from sluicegate.kube.errors import Forbidden, Unreachable
from sluicegate.kube.kinds import Kind
from sluicegate.runtime import metrics_access
from sluicegate.runtime.health import HealthServer
from sluicegate.runtime.metrics_access import MetricsAccess

DETAILS = {"uid": "u", "groups": ["g"], "extra": {"a": ["b"]}}


class Server:
    """An API server that knows the tokens `reader` and `stranger`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reviews: list[tuple[str, Mapping[str, Any]]] = []
        self.error: Exception | None = None
        self.allows = True

    async def create(self, kind: Kind, manifest: Mapping[str, Any]) -> dict[str, Any]:
        assert not (kind.namespaced or kind.stored)
        self.reviews.append((kind.path(), manifest["spec"]))
        if self.error is not None:
            raise self.error
        if kind.kind == "TokenReview":
            token = manifest["spec"]["token"]
            known = token in ("reader", "stranger")
            return {"status": {"authenticated": known, "user": {"username": token, **DETAILS} if known else {}}}
        return {"status": {"allowed": self.allows and manifest["spec"]["user"] == "reader"}}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def access(server: Server) -> MetricsAccess:
    return MetricsAccess(server, lambda: server.now)


async def test_asks_the_api_server_about_the_token_and_its_user(server: Server, access: MetricsAccess) -> None:
    assert await access.check("Bearer reader") == 200
    attributes = {"path": "/metrics", "verb": "get"}
    assert server.reviews == [
        ("/apis/authentication.k8s.io/v1/tokenreviews", {"token": "reader"}),
        (
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            {"user": "reader", **DETAILS, "nonResourceAttributes": attributes},
        ),
    ]


@pytest.mark.parametrize(
    "header, status",
    [
        ("Bearer stranger", 403),
        ("bearer reader", 200),
        ("Bearer forged", 401),
        ("Bearer ", 401),
        ("Basic reader", 401),
        ("Bearer a\u00e9", 401),
        ("Bearer " + "x" * 9000, 401),
        ("", 401),
    ],
)
async def test_decides_by_the_header(access: MetricsAccess, header: str, status: int) -> None:
    assert await access.check(header) == status


async def test_a_decision_is_remembered_for_a_short_time(server: Server, access: MetricsAccess) -> None:
    assert [await access.check(f"Bearer {token}") for token in ("reader", "stranger") * 3] == [200, 403] * 3
    assert len(server.reviews) == 4
    server.allows = False
    server.now += metrics_access.ALLOWED_SECONDS
    assert await access.check("Bearer reader") == 403


async def test_forged_tokens_neither_flood_the_api_server_nor_lock_out_others(
    server: Server, access: MetricsAccess
) -> None:
    assert await access.check("Bearer reader") == 200
    answers = [await access.check(f"Bearer forged-{number}") for number in range(1000)]
    assert answers == [401] * 19 + [429] * 981
    assert len(server.reviews) == 2 + 19
    server.now += metrics_access.ALLOWED_SECONDS
    for number in range(20):
        await access.check(f"Bearer again-{number}")
    assert await access.check("Bearer reader") == 200


async def test_memory_is_bounded_and_keeps_those_who_may_read(server: Server, access: MetricsAccess) -> None:
    assert await access.check("Bearer reader") == 200
    for number in range(1000):
        server.now += 0.5
        await access.check(f"Bearer forged-{number}")
        server.now = min(server.now, 150.0)
        access._bucket = metrics_access.TokenBucket(1, 5)
    assert len(access._decided) == 256
    reviews = len(server.reviews)
    assert await access.check("Bearer reader") == 200
    assert len(server.reviews) == reviews


@pytest.mark.parametrize("error", [Unreachable("down"), Forbidden(403, "Forbidden", "no permission for tokenreviews")])
async def test_nobody_reads_while_the_api_server_cannot_be_asked(
    server: Server, access: MetricsAccess, error: Exception
) -> None:
    server.error = error
    assert await access.check("Bearer reader") == 503
    server.error = None
    assert await access.check("Bearer reader") == 200


async def test_a_review_has_a_time_limit(
    server: Server, access: MetricsAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    monkeypatch.setattr(metrics_access, "REVIEW_SECONDS", 0.05)
    monkeypatch.setattr(server, "create", hang)
    assert await access.check("Bearer reader") == 503


async def test_the_server_asks_for_a_token_on_metrics_only(access: MetricsAccess) -> None:
    health = HealthServer({}, {}, CollectorRegistry(), 0, "127.0.0.1")
    health.access = access
    async with health, aiohttp.ClientSession(f"http://127.0.0.1:{health.port}") as http:
        for path in ("/healthz", "/readyz"):
            async with http.get(path) as response:
                assert response.status == 200
        async with http.get("/metrics") as response:
            assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert await response.text() == "Send the token of a ServiceAccount: Authorization: Bearer TOKEN.\n"
        async with http.get("/metrics", headers={"Authorization": "Bearer stranger"}) as response:
            assert response.status == 403
        async with http.get("/metrics", headers={"Authorization": "Bearer reader"}) as response:
            assert response.status == 200
