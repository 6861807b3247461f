import aiohttp
from prometheus_client import CollectorRegistry, Counter
from sluicegate.runtime.health import HealthServer, report


def _broken() -> str | None:
    raise KeyError("oops")


async def test_answers() -> None:
    registry = CollectorRegistry()
    Counter("sluicegate_things", "Things.", registry=registry).inc(3)
    trouble: list[str] = []
    ready = {"informers": lambda: None, "leader": lambda: trouble[0] if trouble else None}
    server = HealthServer({"streams": lambda: None}, ready, registry, 0, "127.0.0.1")
    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as http:
        async with http.get("/healthz") as answer:
            assert answer.status == 200
            assert await answer.json() == {"status": "ok", "checks": {"streams": "ok"}}
        async with http.get("/readyz") as answer:
            assert answer.status == 200
        trouble.append("the lease is held by another")
        async with http.get("/readyz") as answer:
            assert answer.status == 503
            assert await answer.json() == {
                "status": "failing",
                "checks": {"informers": "ok", "leader": "the lease is held by another"},
            }
        async with http.get("/metrics") as answer:
            assert "sluicegate_things_total 3.0" in await answer.text()
            assert answer.headers["Content-Type"].startswith("text/plain")


def test_a_check_that_raises_is_failing() -> None:
    assert report({"a": _broken, "b": lambda: None}) == {
        "a": "the check itself failed: KeyError: 'oops'",
        "b": None,
    }
