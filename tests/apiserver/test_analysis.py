"""Rollouts with analysis, with the whole operator on a real API server.

Only the counters of the pods come from the test.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from sluicegate.adapters.pods.http import PodHttp
from sluicegate.adapters.pods.metrics import PodScraper
from sluicegate.app import wiring
from sluicegate.core.analysis.counters import REQUESTS, PodCounts

from tests.apiserver.testbed import FIRST, SECOND, World

pytestmark = pytest.mark.usefixtures("crd")

ROLLOUT = {
    "steps": [{"weight": 50, "hold": "1s"}],
    "scaleDownDelay": "1s",
    "analysis": {
        "interval": "1s",
        "warmUp": "0s",
        "metrics": [{"name": "errors", "type": "ErrorRate", "limit": 0.05, "minSamples": 50}],
    },
}


class Counted(PodScraper):
    """The counters of all pods.

    Each scrape finds a hundred more requests. A share of the second version's requests fails.
    """

    def __init__(self, stable: list[str], errors: int) -> None:
        super().__init__(PodHttp())
        self._stable, self._errors = stable, errors
        self._looks = Counter[str]()

    async def scrape(self, pod: str, address: str, kinds: Iterable[str], seconds: float) -> PodCounts:
        assert address.endswith(":8080")
        self._looks[pod] += 1
        bad = 0 if pod.split("-")[1] in self._stable else self._errors * self._looks[pod]
        return PodCounts({(REQUESTS, ""): 100.0 * self._looks[pod] - bad, (REQUESTS, "model"): float(bad)})


@pytest.mark.parametrize(("errors", "phase"), [(0, "Idle"), (40, "RolledBack")], ids=["good", "bad"])
async def test_the_analysis_decides(world: World, monkeypatch: pytest.MonkeyPatch, errors: int, phase: str) -> None:
    stable: list[str] = []
    monkeypatch.setattr(wiring, "PodScraper", lambda _: Counted(stable, errors))
    asked: dict[str, Any] = {"scaling": {"replicas": 2}, "rollout": ROLLOUT}
    async with world.operator():
        await world.resource(**asked)
        await world.until_serving()
        stable += [
            revision["revision"] for revision in (await world.status())["revisions"] if revision["role"] == "Stable"
        ]
        await world.resource(uri=SECOND, **asked)

        async def decided() -> bool:
            status = await world.status()
            now = [revision["revision"] for revision in status["revisions"] if revision["role"] == "Stable"]
            return (status.get("rollout") or {}).get("phase") == phase and (now == stable) == (phase == "RolledBack")

        await world.until(decided, 90)
        status = await world.status()
        if phase == "RolledBack":
            analysis = status["rollout"]["analysis"]
            assert (analysis["outcome"], analysis["metric"]) == ("Failed", "errors")
            assert analysis["value"] == pytest.approx(0.4)
            assert "failed (model" in status["rollout"]["message"]
        else:
            assert status["model"]["uri"] == SECOND != FIRST
