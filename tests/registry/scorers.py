"""Real scoring servers on loopback, run as pods run them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from sluicegate.core.snapshot.facts import PodFacts

ROOT = Path(__file__).parents[2]
MAKE = """
import sys, mlflow, pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression
frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0]})
for folder, offset in ((sys.argv[1], 0.0), (sys.argv[2], 0.5)):
    model = LinearRegression().fit(frame, frame.a + offset)
    mlflow.sklearn.save_model(model, folder, signature=infer_signature(frame, model.predict(frame)), \
pip_requirements=["mlflow"])
"""

VERSIONS = {"stable": "one", "same": "one", "other": "two"}
"""By UID of a pod, the folder of its model. The predictions of the two model versions are 0.5 apart. Two of the pods
run the first version.
"""


@contextlib.contextmanager
def scorer(python: str, model: Path, uid: str, port: int) -> Iterator[PodFacts]:
    """Run a scoring server as a pod runs it, and yield its facts."""
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


def save_versions(python: str, folder: Path) -> None:
    """Save both model versions as `one` and `two` in the folder."""
    made = [python, "-c", MAKE, str(folder / "one"), str(folder / "two")]
    subprocess.run(made, check=True, capture_output=True, timeout=600)
