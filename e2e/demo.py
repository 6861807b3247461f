"""`make demo`: from a bare machine to predictions of a real MLflow model, and `make demo-down`.

Every step can be run again: what is there is left as it is, so a second run takes seconds.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from e2e.cluster import Cluster, down, images, lifecycle, tools
from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import say, step

REPOSITORY = Path(__file__).resolve().parents[1]
CHART = REPOSITORY / "charts/sluicegate"
OPERATOR = "localhost/sluicegate:dev"
IMAGES = {
    OPERATOR: "images/operator/Dockerfile",
    "localhost/sluicegate-scorer:dev": "images/scorer/Dockerfile",
}
MODEL = "recommendation-engine"
ROW = {"dataframe_records": [{"recency_days": 3, "visits": 12, "basket_value": 80}]}
Json = dict[str, Any]


def demo_up(name: str) -> None:
    """Brings the whole demo up, or what is missing of it."""
    start = time.monotonic()
    cluster = installed(name)
    say("Serving: examples/quickstart.yaml")
    resource = _serve(cluster)
    _predict(resource["status"]["url"])
    say("A canary: version 2 beside it, with a tenth of the requests")
    _canary(cluster, resource["status"]["url"])
    say("The registry is followed: an alias moves in MLflow, and nobody touches the resource")
    _follow(cluster, resource["status"]["url"])
    print("\n$ kubectl get mdep\n" + cluster.kubectl("get", "mdep"))
    say(f"The demo is up ({time.monotonic() - start:.0f}s).")
    print(_next_steps(cluster, resource["status"]["url"]))


def installed(name: str) -> Cluster:
    """The cluster of that name, with the operator and a registry with two versions of the example model; the tests use it too."""
    say("Preparing: Debian packages, Kubernetes built from source, two images (cold: several minutes; then cached)")
    cluster, archives = _prepare(name)
    _load(cluster, archives)
    say("Installing: the operator, an MLflow registry, a training job")
    install_operator(cluster)
    _train(cluster)
    return cluster


def _prepare(name: str) -> tuple[Cluster, dict[str, Path]]:
    """Cluster, images and Helm side by side: one compiles while the other mostly downloads."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        building: Future[dict[str, Path]] = pool.submit(_build_images)
        helm = pool.submit(tools.ensure_one, tools.helm)
        cluster = lifecycle.up(name)
        helm.result()
        return cluster, building.result()


def _build_images() -> dict[str, Path]:
    return {tag: images.build(REPOSITORY / file, REPOSITORY, tag) for tag, file in IMAGES.items()}


def _load(cluster: Cluster, archives: dict[str, Path]) -> None:
    """Imports the images that the node does not have in this very content."""
    known = _loaded(cluster)
    for tag, archive in sorted(archives.items()):
        if known.get(tag) != archive.name:
            with step(f"image {tag} into the node"):
                cluster.load_image(archive)
    (cluster.state / "demo-images.json").write_text(json.dumps({tag: each.name for tag, each in archives.items()}))


def _loaded(cluster: Cluster) -> dict[str, str]:
    """The images on the node by tag: a name that changes with their content."""
    note = cluster.state / "demo-images.json"
    found: dict[str, str] = json.loads(note.read_text()) if note.exists() else {}
    return found


def _apply(cluster: Cluster, *options: str) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", *options)


def install_operator(cluster: Cluster, *options: str) -> None:
    """Installs the chart by Helm, or upgrades what is there to the chart and the image of this repository.

    Args:
        cluster: with the images loaded.
        options: of `helm upgrade`, such as `--set settings.logLevel=debug`.
    """
    with step("operator running"):
        cluster.helm("upgrade", "--install", *release(cluster), "--create-namespace", *options)
        _rolled_out(cluster, "sluicegate-system", "sluicegate")


def release(cluster: Cluster) -> tuple[str, ...]:
    """What `helm install` and `helm upgrade` are told: release, chart, namespace, values.

    The image keeps its tag, so its content stands in an annotation of the pods: another one rolls them. What somebody
    has changed by hand is put back.
    """
    content = f"podAnnotations.image={_loaded(cluster).get(OPERATOR, 'unknown')}"
    values = ("--values", str(REPOSITORY / "e2e/values.yaml"), "--set-string", content)
    return ("sluicegate", str(CHART), "--namespace", "sluicegate-system", "--force-conflicts", *values)


def _rolled_out(cluster: Cluster, namespace: str, name: str) -> None:
    try:
        cluster.kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=180s", timeout=200)
    except ClusterError as problem:
        words = cluster.kubectl("-n", namespace, "get", "pods", "-o", "wide")
        logs = cluster.kubectl("-n", namespace, "logs", f"deployment/{name}", "--tail=20", "--all-containers")
        raise ClusterError(f"{namespace}/{name} does not come up. {problem}\n{words}\n{logs}") from problem


def _train(cluster: Cluster) -> None:
    """Starts MLflow and registers the model's first versions, unless the registry knows the model already."""
    with step("MLflow running"):
        _apply(cluster, "-f", str(REPOSITORY / "examples/mlflow/registry.yaml"))
        _rolled_out(cluster, "mlflow", "mlflow")
    if _registered(cluster):
        return
    with step("model trained and registered twice"):
        cluster.kubectl("-n", "mlflow", "delete", "job", "train", "--ignore-not-found")
        _apply(cluster, "-k", str(REPOSITORY / "examples/mlflow"))
        _wait("the training job", lambda: _job_done(cluster), 300)


def _registered(cluster: Cluster) -> bool:
    address = cluster.kubectl("-n", "mlflow", "get", "service", "mlflow", "-o", "jsonpath={.spec.clusterIP}")
    path = f"/api/2.0/mlflow/registered-models/alias?name={MODEL}&alias=champion"
    asked = urllib.request.Request(f"http://{address}:5000{path}")
    asked.add_header("Host", "mlflow.mlflow.svc:5000")  # the server refuses names and addresses it was not told of
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as refused:
        refused.close()
        return False
    except OSError:
        return False


def _job_done(cluster: Cluster) -> bool:
    conditions = {
        each["type"] for each in _conditions(cluster.get("job", "train", "mlflow")) if each["status"] == "True"
    }
    if "Failed" in conditions:
        raise SystemExit("error: the training job failed:\n" + cluster.kubectl("-n", "mlflow", "logs", "job/train"))
    return "Complete" in conditions


def _serve(cluster: Cluster) -> Json:
    """Applies the example and shows how it becomes ready."""
    cluster.kubectl("apply", "-f", str(REPOSITORY / "examples/quickstart.yaml"))
    with step("model serving"):
        return _wait_ready(cluster)


def _wait_ready(cluster: Cluster) -> Json:
    """Shows what the resource waits for until its present generation is ready."""
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
        _wait(f"ModelDeployment {MODEL} to be ready", ready, 300)
    except ClusterError as late:
        raise ClusterError(f"{late}\n{cluster.kubectl('describe', 'mdep', MODEL)}") from late
    return found


def _canary(cluster: Cluster, url: str) -> None:
    """Version 2 beside version 1 at 90/10, and the split as a client measures it."""
    model = {"uri": f"models:/{MODEL}/1"}
    canary = {"weight": 10, "model": {"uri": f"models:/{MODEL}/2"}}
    patch = json.dumps({"spec": {"model": model, "canary": canary}})
    print(f"\n$ kubectl patch mdep {MODEL} --type merge -p {shlex.quote(patch)}", flush=True)
    cluster.kubectl("patch", "mdep", MODEL, "--type", "merge", "-p", patch)
    with step("canary serving"):
        _wait_ready(cluster)
    answers = Counter(_version(_answer(url)) for _ in range(1000))
    print(f"1000 requests: {answers[1]} answered by version 1, {answers[2]} by version 2 (declared: 900 and 100)")


def _follow(cluster: Cluster, url: str) -> None:
    """The alias moves from version 1 to 2, and the same URL answers with version 2."""
    _move_alias(cluster, 1)
    patch = json.dumps({"spec": {"model": {"uri": f"models:/{MODEL}@champion"}, "canary": None}})
    print(f"\n$ kubectl patch mdep {MODEL} --type merge -p {shlex.quote(patch)}", flush=True)
    cluster.kubectl("patch", "mdep", MODEL, "--type", "merge", "-p", patch)
    with step("version 1 serving"):
        _wait_ready(cluster)
        _wait("version 1 to answer", lambda: _version(_answer(url)) == 1, 60)
    print(f"\n>>> MlflowClient().set_registered_model_alias('{MODEL}', 'champion', 2)", flush=True)
    _move_alias(cluster, 2)
    start = time.monotonic()
    _wait("version 2 to answer", lambda: _version(_answer(url)) == 2, 120)
    print(f"{time.monotonic() - start:.0f} seconds later the same URL answers with version 2; no request failed.")


def _move_alias(cluster: Cluster, version: int) -> None:
    """With the stock client, as a data scientist does."""
    moves = f"from mlflow import MlflowClient as C; C().set_registered_model_alias({MODEL!r}, 'champion', {version})"
    address = "MLFLOW_TRACKING_URI=http://localhost:5000"
    cluster.kubectl("-n", "mlflow", "exec", "deploy/mlflow", "--", "env", address, "python3", "-c", moves, timeout=120)


def _version(answer: str) -> int:
    """Version N adds N * 100 to each score."""
    score: float = json.loads(answer)["predictions"][0]
    return round(score) // 100


def _conditions(resource: Json) -> list[Json]:
    return list((resource.get("status") or {}).get("conditions") or ())


def _condition(resource: Json, kind: str) -> Json:
    for each in _conditions(resource):
        if each["type"] == kind:
            return dict(each)
    return {"status": "Unknown", "reason": "NotSeenYet", "message": "The operator has not looked at it yet."}


def _wait(what: str, done: Callable[[], bool], seconds: float) -> None:
    """Looks twice a second; a failing look ends the wait, because it says more than a time-out."""
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


def _next_steps(cluster: Cluster, url: str) -> str:
    programs = Path(tools.kubernetes.bin("kubectl")).parent
    return f"""
Try next:
  export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))} PATH={shlex.quote(str(programs))}:$PATH

  # Register one more version (version N adds N * 100 to each score):
  kubectl -n mlflow exec -i deploy/mlflow -- python3 - --tracking-uri http://localhost:5000 --alias '' < examples/mlflow/train.py

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


def main(argv: list[str] | None = None) -> int:
    """Runs one command; what a person has to know is one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python3 -m e2e.demo", description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    parser.add_argument("--name", default="demo", help="the cluster's name (default: demo)")
    options = parser.parse_args(argv)
    try:
        if options.command == "up":
            demo_up(options.name)
        else:
            with step(f"cluster {options.name} removed"):
                down(options.name)
    except ClusterError as problem:
        say(f"error: {problem}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
