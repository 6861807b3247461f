"""Install what the demo and the end-to-end tests run on: a cluster, the operator, and a registry with a trained model.

Every step can be run again. A step keeps what exists already, so a second run takes seconds.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tools.demo import tour
from tools.localcluster import Cluster, images, lifecycle, tools
from tools.localcluster.errors import ClusterError
from tools.localcluster.shell import say, step

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts/sluicegate"
OPERATOR = "localhost/sluicegate:dev"
IMAGES = {
    OPERATOR: "images/operator/Dockerfile",
    "localhost/sluicegate-scorer:dev": "images/scorer/Dockerfile",
}


def installed(name: str) -> Cluster:
    """Return the cluster of that name with the operator and a registry installed.

    The registry has two versions of the example model. The end-to-end tests use this function too.
    """
    say("Preparing: Debian packages, Kubernetes built from source, two images (cold: several minutes; then cached)")
    cluster, archives = _prepare(name)
    _load(cluster, archives)
    say("Installing: the operator, an MLflow registry, a training job")
    install_operator(cluster)
    _train(cluster)
    return cluster


def _prepare(name: str) -> tuple[Cluster, dict[str, Path]]:
    """Prepare the cluster, the images and Helm in parallel.

    One of them compiles while another mostly downloads.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        building: Future[dict[str, Path]] = pool.submit(_build_images)
        helm = pool.submit(tools.ensure_one, tools.helm)
        cluster = lifecycle.up(name)
        helm.result()
        return cluster, building.result()


def _build_images() -> dict[str, Path]:
    return {tag: images.build(REPOSITORY / file, REPOSITORY, tag) for tag, file in IMAGES.items()}


def _load(cluster: Cluster, archives: dict[str, Path]) -> None:
    """Import the images that the node does not have with the same content."""
    known = _loaded(cluster)
    for tag, archive in sorted(archives.items()):
        if known.get(tag) != archive.name:
            with step(f"image {tag} into the node"):
                cluster.load_image(archive)
    (cluster.state / "demo-images.json").write_text(json.dumps({tag: each.name for tag, each in archives.items()}))


def _loaded(cluster: Cluster) -> dict[str, str]:
    """Return the archive name of each image on the node, by tag.

    The archive name changes with the content of the image.
    """
    note = cluster.state / "demo-images.json"
    parsed: dict[str, str] = json.loads(note.read_text()) if note.exists() else {}
    return parsed


def _apply(cluster: Cluster, *options: str) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", *options)


def install_operator(cluster: Cluster, *options: str) -> None:
    """Install the chart with Helm, or upgrade the existing release.

    The release then has the chart and the image of this repository.

    Args:
        cluster: The cluster. The images are already loaded.
        options: Options of `helm upgrade`, such as `--set settings.logLevel=debug`.
    """
    with step("operator running"):
        cluster.helm("upgrade", "--install", *release(cluster), "--create-namespace", *options)
        _rolled_out(cluster, "sluicegate-system", "sluicegate")


def release(cluster: Cluster) -> tuple[str, ...]:
    """Return the arguments of `helm install` and `helm upgrade`.

    The arguments are the release, the chart, the namespace and the values.
    The tag of the image never changes, so an annotation of the pods identifies its content.
    When the content changes, Helm replaces the pods. Helm also reverts what a user has changed by hand.
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
    """Start MLflow and register the first versions of the model.

    If the registry has the model already, register nothing.
    """
    with step("MLflow running"):
        _apply(cluster, "-f", str(REPOSITORY / "examples/mlflow/registry.yaml"))
        _rolled_out(cluster, "mlflow", "mlflow")
    if _registered(cluster):
        return
    with step("model trained and registered twice"):
        cluster.kubectl("-n", "mlflow", "delete", "job", "train", "--ignore-not-found")
        _apply(cluster, "-k", str(REPOSITORY / "examples/mlflow"))
        tour.wait("the training job", lambda: _job_done(cluster), 300)


def _registered(cluster: Cluster) -> bool:
    address = cluster.kubectl("-n", "mlflow", "get", "service", "mlflow", "-o", "jsonpath={.spec.clusterIP}")
    path = f"/api/2.0/mlflow/registered-models/alias?name={tour.MODEL}&alias=champion"
    asked = urllib.request.Request(f"http://{address}:5000{path}")
    asked.add_header("Host", "mlflow.mlflow.svc:5000")  # MLflow rejects hosts that its configuration does not allow
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
        condition["type"]
        for condition in tour.conditions(cluster.get("job", "train", "mlflow"))
        if condition["status"] == "True"
    }
    if "Failed" in conditions:
        raise SystemExit("error: the training job failed:\n" + cluster.kubectl("-n", "mlflow", "logs", "job/train"))
    return "Complete" in conditions
