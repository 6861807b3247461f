"""Two real scoring servers on loopback answer the same requests, and the operator compares what they answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sluicegate.adapters.pod_http import PodHttp
from sluicegate.adapters.recent_answers import AnswerReader, Pod, Untold
from sluicegate.api.rollout import AnalysisMetric, AnalysisSpec
from sluicegate.core.analysis.evidence import Evidence, Pairs
from sluicegate.core.analysis.judge import judge
from sluicegate.core.analysis.reading import Outcome
from sluicegate.core.analysis.subject import Subject
from sluicegate.core.facts import PodFacts
from sluicegate.runtime.pairs import PodPairs

from tests.registry.conftest import free_port

pytestmark = pytest.mark.timeout(900)
"""Four processes that import MLflow, on a machine that may be busy."""
ROOT = Path(__file__).parents[2]
KEY = ("shop", "pricing")
MAKE = """
import sys, mlflow, pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression
frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0]})
for folder, offset in ((sys.argv[1], 0.0), (sys.argv[2], 0.5)):
    model = LinearRegression().fit(frame, frame.a + offset)
    mlflow.sklearn.save_model(model, folder, signature=infer_signature(frame, model.predict(frame)), pip_requirements=["mlflow"])
"""
SHARE = AnalysisMetric(name="share", type="Disagreement", limit=0.01, tolerance=0.1, min_samples=20)
SIZE = AnalysisMetric(name="size", type="LargestDifference", limit=0.4, min_samples=20)


@contextlib.contextmanager
def scorer(python: str, model: Path, uid: str) -> Iterator[PodFacts]:
    """A scoring server as a pod runs it."""
    port = free_port()
    command = [python, "-m", "sluicegate_scorer", "serve", str(model), "--host", "127.0.0.1", "--port", str(port)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "scorer"), "SLUICEGATE_POD_UID": uid}
    log = model.parent / f"{uid}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    try:
        until = time.monotonic() + 300
        while True:
            assert process.poll() is None and time.monotonic() < until, log.read_text()[-4000:]
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200:
                    break
            time.sleep(0.2)
        yield PodFacts(f"pod-{uid}", "", ready=True, deleting=False, address=f"127.0.0.1:{port}", uid=uid)
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def pods(mlflow_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, PodFacts]]:
    """A pod of each of two versions whose predictions are 0.5 apart, and one more of the first."""
    folder = tmp_path_factory.mktemp("versions")
    made = [mlflow_python, "-c", MAKE, str(folder / "one"), str(folder / "two")]
    subprocess.run(made, check=True, capture_output=True, timeout=600)
    with contextlib.ExitStack() as running:
        yield {
            uid: running.enter_context(scorer(mlflow_python, folder / model, uid))
            for uid, model in (("stable", "one"), ("same", "one"), ("other", "two"))
        }


class Here:
    """A comparison of two pods, and a gateway that copies each request with its id."""

    def __init__(self, stable: PodFacts, target: PodFacts) -> None:
        self.pods = {"s": [stable], "t": [target]}
        self.http = PodHttp()
        subject = Subject(KEY, "t", "s", "2026-11-28T00:00:00Z", AnalysisSpec(metrics=(SHARE, SIZE)))
        self.pairs = PodPairs(subject, lambda _, revision: self.pods[revision], AnswerReader(self.http))
        self.sent = 0

    async def send(self, count: int, same_id: bool = True) -> None:
        """Requests to stable, each with a copy to the other."""
        async with httpx.AsyncClient(timeout=30) as client:
            for _ in range(count):
                self.sent += 1
                body = {"dataframe_split": {"columns": ["a"], "data": [[self.sent % 7]]}}
                for side, pods in self.pods.items():
                    headers = {"x-request-id": f"{self.sent}{'' if same_id else side}"}
                    answer = await client.post(f"http://{pods[0].address}/invocations", json=body, headers=headers)
                    assert answer.status_code == 200
                await asyncio.sleep(0.04)  # fewer a second than pods keep of all, so that each answer counts

    async def read(self) -> Pairs:
        found = await self.pairs.read()
        assert isinstance(found, Pairs), found
        return found


async def test_a_version_that_answers_the_same_passes(pods: dict[str, PodFacts]) -> None:
    here = Here(pods["stable"], pods["same"])
    await here.pairs.begin()
    await here.send(30)
    first = await here.read()
    await here.send(10)
    found = await here.read()
    assert (first.compared, found.compared, found.differing, found.unlike) == (30, 40, 0, 0)
    assert [judge(each, Evidence(pairs=found)).outcome for each in (SHARE, SIZE)] == [Outcome.PASSED] * 2
    await here.http.aclose()


async def test_a_version_that_answers_otherwise_fails_with_the_figures(pods: dict[str, PodFacts]) -> None:
    here = Here(pods["stable"], pods["other"])
    await here.pairs.begin()
    await here.send(40)
    found = await here.read()
    assert (found.compared, found.differing, found.unlike) == (40, 40, 0)
    assert found.largest == pytest.approx(0.5)
    share, size = (judge(each, Evidence(pairs=found)) for each in (SHARE, SIZE))
    assert (share.outcome, share.value) == (Outcome.FAILED, 1.0)
    assert size.outcome is Outcome.FAILED and size.value == pytest.approx(0.5)
    assert "At predictions[0] it was" in size.message
    await here.http.aclose()


async def test_what_was_answered_before_the_step_is_not_compared(pods: dict[str, PodFacts]) -> None:
    before, here = Here(pods["stable"], pods["other"]), Here(pods["stable"], pods["other"])
    await before.pairs.begin()
    await before.send(5)
    await asyncio.sleep(0.01)
    await here.pairs.begin()
    assert isinstance(await here.pairs.read(), str)
    here.sent = 1000
    await here.send(3)
    assert (await here.read()).compared == 3
    assert (await before.read()).compared == 8
    await before.http.aclose()
    await here.http.aclose()


async def test_a_gateway_that_changes_the_id_gives_no_pairs_and_that_is_said(pods: dict[str, PodFacts]) -> None:
    here = Here(pods["stable"], pods["other"])
    await here.pairs.begin()
    await here.send(100, same_id=False)
    found = await here.pairs.read()
    assert isinstance(found, str) and "gives copies another x-request-id" in found
    assert judge(SHARE, Evidence(pairs_trouble=found)).outcome is Outcome.INCONCLUSIVE
    await here.http.aclose()


async def test_a_pod_of_another_uid_tells_nothing(pods: dict[str, PodFacts]) -> None:
    http = PodHttp()
    reader = AnswerReader(http)
    pod = pods["stable"]
    with pytest.raises(Untold, match="does not tell its answers"):
        await reader.read(Pod(pod.name, pod.address, "guessed"), "", 60.0, 10.0)
    with pytest.raises(Untold, match=r"cannot be read at 127\.0\.0\.1:9"):
        await reader.read(Pod(pod.name, "127.0.0.1:9", "stable"), "", 60.0, 10.0)
    await http.aclose()
