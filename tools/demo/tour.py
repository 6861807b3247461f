"""The tour that `make demo` gives once the operator and a registry run.

It shows predictions, a canary, an alias that the operator follows, and a bad version that the operator rolls back.
Each part can be run again, and leaves the resource in the state that the next run expects.
"""

from __future__ import annotations

import json
import re
import shlex
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from e2e.support.load import Load
from tools.localcluster import Cluster, tools
from tools.localcluster.errors import ClusterError
from tools.localcluster.shell import say, step

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = "recommendation-engine"
ROW = {"dataframe_records": [{"recency_days": 3, "visits": 12, "basket_value": 80}]}
ROLLOUT = {
    "steps": [{"weight": 20, "hold": "20s"}, {"weight": 50, "hold": "20s"}],
    "analysis": {
        "interval": "2s",
        "warmUp": "3s",
        "metrics": [{"name": "errors", "type": "ErrorRate", "limit": 0.05, "minSamples": 20}],
    },
}
"""A rollout with short times, which keep the demo short. A real rollout holds for minutes."""
Json = dict[str, Any]


def shown(cluster: Cluster) -> str:
    """Show all parts of the tour and return the URL that serves predictions."""
    say("Serving: examples/quickstart.yaml")
    url: str = _serve(cluster)["status"]["url"]
    _predict(url)
    say("A canary: version 2 beside it, with a tenth of the requests")
    _canary(cluster, url)
    say("The registry is followed: an alias moves in MLflow, and the resource stays as it is")
    _follow(cluster, url)
    say("A bad version: it takes a fifth of the requests, fails the analysis, and is rolled back without a user")
    _refuse(cluster, url)
    return url


def _serve(cluster: Cluster) -> Json:
    """Apply the example and show how it becomes ready."""
    cluster.kubectl("apply", "-f", str(REPOSITORY / "examples/quickstart.yaml"))
    with step("model serving"):
        return _wait_ready(cluster)


def _wait_ready(cluster: Cluster) -> Json:
    """Return the resource once its current generation is ready.

    Until then, print what the resource waits for.
    """
    shown = ""
    found: Json = {}

    def ready() -> bool:
        nonlocal found, shown
        found = dict(cluster.get("mdep", MODEL))
        condition = _condition(found, "Ready")
        if condition["message"] != shown:
            shown = condition["message"]
            say(f"  Ready={condition['status']} {condition['reason']}: {shown}")
        current: bool = condition.get("observedGeneration") == found["metadata"]["generation"]
        return condition["status"] == "True" and current

    try:
        wait(f"ModelDeployment {MODEL} to be ready", ready, 300)
    except ClusterError as late:
        raise ClusterError(f"{late}\n{cluster.kubectl('describe', 'mdep', MODEL)}") from late
    return found


def _canary(cluster: Cluster, url: str) -> None:
    """Run version 2 as a canary with 10% of the requests.

    Version 1 receives the other 90%. Print the traffic shares that a client measures.
    """
    model = {"uri": f"models:/{MODEL}/1"}
    canary = {"weight": 10, "model": {"uri": f"models:/{MODEL}/2"}}
    _patch(cluster, {"model": model, "canary": canary})
    with step("canary serving"):
        _wait_ready(cluster)
    answers = Counter(_version(_answer(url)) for _ in range(1000))
    print(f"1000 requests: {answers[1]} answered by version 1, {answers[2]} by version 2 (declared: 900 and 100)")


def _follow(cluster: Cluster, url: str) -> None:
    """Move the alias from version 1 to 2, and wait for version 2 at the same URL."""
    _move_alias(cluster, 1)
    _patch(cluster, {"model": {"uri": f"models:/{MODEL}@champion"}, "canary": None})
    with step("version 1 serving"):
        _wait_ready(cluster)
        wait("version 1 to answer", lambda: _version(_answer(url)) == 1, 60)
    print(f"\n>>> MlflowClient().set_registered_model_alias('{MODEL}', 'champion', 2)", flush=True)
    _move_alias(cluster, 2)
    start = time.monotonic()
    wait("version 2 to answer", lambda: _version(_answer(url)) == 2, 120)
    print(f"{time.monotonic() - start:.0f} seconds later the same URL answers with version 2; no request failed.")


def _refuse(cluster: Cluster, url: str) -> None:
    """Move the alias to a version that fails requests, and show the rollback.

    The version is rolled out in steps. The operator rolls it back because of what the analysis measures.
    """
    with step("bad version registered"):
        bad = _train_bad(cluster)
    _patch(cluster, {"rollout": ROLLOUT})
    with step("steps taken note of"):
        _wait_ready(cluster)
    try:
        with Load({"gateway": url}, rate=20, own='500 .*"error_code"') as clients:
            print(f"\n>>> MlflowClient().set_registered_model_alias('{MODEL}', 'champion', {bad})", flush=True)
            _move_alias(cluster, bad)
            state = _wait_rolled_back(cluster)
            time.sleep(3)  # the clients go on sending requests, and only version 2 answers them
        _tell_refusal(cluster, state, clients, bad)
    finally:
        _move_alias(cluster, 2)
        _patch(cluster, {"rollout": None})
    with step("alias back at version 2"):
        _wait_ready(cluster)


def _train_bad(cluster: Cluster) -> int:
    """Return the number of a bad version, and register the version if necessary.

    The version responds to its input example, but fails requests of clients.
    A version that an earlier run has registered is used again.
    """
    note = cluster.state / "demo-bad-version"
    if note.exists():
        return int(note.read_text())
    options = ("--tracking-uri", "http://localhost:5000", "--alias", "", "--broken", "visitors")
    script = (REPOSITORY / "examples/mlflow/train.py").read_text()
    said = cluster.kubectl(
        *("-n", "mlflow", "exec", "-i", "deploy/mlflow", "--", "python3", "-", *options), input=script, timeout=180
    )
    number = re.search(rf"registered {MODEL} version (\d+)", said)
    if number is None:
        raise ClusterError(f"The training script registered nothing: {said}")
    note.write_text(number[1])
    return int(number[1])


def _patch(cluster: Cluster, spec: Json) -> None:
    patch = json.dumps({"spec": spec})
    print(f"\n$ kubectl patch mdep {MODEL} --type merge -p {shlex.quote(patch)}", flush=True)
    cluster.kubectl("patch", "mdep", MODEL, "--type", "merge", "-p", patch)


def _wait_rolled_back(cluster: Cluster) -> Json:
    """Show what the rollout does until it is rolled back, and return its state."""
    said = ""
    state: Json = {}

    def rolled_back() -> bool:
        nonlocal said, state
        resource: Any = cluster.get("mdep", MODEL)
        state = (resource.get("status") or {}).get("rollout") or {}
        words = f"  {state.get('phase')}: {state.get('message', '')}"
        if words != said and state.get("message"):
            said = words
            say(words)
        return state.get("phase") == "RolledBack"

    wait("the bad version to be rolled back", rolled_back, 180)
    return state


def _tell_refusal(cluster: Cluster, state: Json, clients: Load, bad: int) -> None:
    """Print the measurement behind the rollback and what the clients noticed.

    The measurement comes from status.
    """
    if clients.failures:
        raise ClusterError(f"Requests were lost on the way: {clients.failures[:3]}")
    path = "{.status.rollout.analysis}"
    print(f"\n$ kubectl get mdep {MODEL} -o jsonpath='{path}'\n{json.dumps(state.get('analysis'), indent=1)}")
    print("\n$ kubectl get mdep\n" + cluster.kubectl("get", "mdep"), flush=True)
    failed = len(clients.errors)
    print(
        f"Of {clients.total + failed} requests meanwhile version 2 answered {clients.total}, "
        f"and version {bad} failed {failed}. "
        "The operator rolled it back. Version 2 never stopped serving.",
        flush=True,
    )


def _move_alias(cluster: Cluster, version: int) -> None:
    """Move the alias with the stock MLflow client, as a data scientist does."""
    moves = f"from mlflow import MlflowClient as C; C().set_registered_model_alias({MODEL!r}, 'champion', {version})"
    address = "MLFLOW_TRACKING_URI=http://localhost:5000"
    cluster.kubectl("-n", "mlflow", "exec", "deploy/mlflow", "--", "env", address, "python3", "-c", moves, timeout=120)


def _version(answer: str) -> int:
    """Return the version that made a prediction.

    Version N adds N * 100 to each score.
    """
    score: float = json.loads(answer)["predictions"][0]
    return round(score) // 100


def conditions(resource: Json) -> list[Json]:
    return list((resource.get("status") or {}).get("conditions") or ())


def _condition(resource: Json, kind: str) -> Json:
    for condition in conditions(resource):
        if condition["type"] == kind:
            return dict(condition)
    return {"status": "Unknown", "reason": "NotSeenYet", "message": "The operator has not looked at it yet."}


def wait(what: str, done: Callable[[], bool], seconds: float) -> None:
    """Check twice a second until `done` returns true.

    An exception from `done` ends the wait, because its message says more than a timeout.
    """
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise ClusterError(f"Waited {seconds:.0f} seconds in vain for {what}.")
        time.sleep(0.5)


def _curl(url: str) -> str:
    return f"curl {url}/invocations -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(ROW))}"


def _predict(url: str) -> None:
    for _ in range(3):
        print(f"\n$ {_curl(url)}\n{_answer(url)}", flush=True)


def _answer(url: str) -> str:
    body = json.dumps(ROW).encode()
    asked = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as refused:
        raise ClusterError(f"{url} answered {refused.code}: {refused.read().decode(errors='replace')}") from refused
    except OSError as problem:
        raise ClusterError(f"{url} does not answer: {problem}") from problem


def next_steps(cluster: Cluster, url: str) -> str:
    programs = Path(tools.kubernetes.bin("kubectl")).parent
    return f"""
Try next:
  export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))} PATH={shlex.quote(str(programs))}:$PATH

  # Register one more version (version N adds N * 100 to each score):
  kubectl -n mlflow exec -i deploy/mlflow -- python3 - --tracking-uri http://localhost:5000 --alias '' \
< examples/mlflow/train.py

  # Move the alias back and watch the old version return, at once and without a lost request:
  kubectl -n mlflow exec deploy/mlflow -- env MLFLOW_TRACKING_URI=http://localhost:5000 \
    python3 -c "from mlflow import MlflowClient as C; C().set_registered_model_alias('{MODEL}', 'champion', 1)"
  kubectl get mdep -w
  {_curl(url)}

  # Ask for a version that is not there, and read what the resource says (the one that serves goes on):
  kubectl patch mdep {MODEL} --type merge -p '{{"spec": {{"model": {{"uri": "models:/{MODEL}/99"}}}}}}'
  kubectl describe mdep {MODEL}

  # Every field, with its unit and default:
  kubectl explain mdep.spec

`make demo-down` removes all of it."""
