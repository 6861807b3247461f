"""Every form of a model URI ends in predictions from a real pod.

What the URI resolved to stays pinned.
"""

import secrets
from json import dumps
from pathlib import Path
from urllib.request import urlopen

import pytest

from e2e.support import bucket
from e2e.support.load import predict
from e2e.support.registry import MODEL
from e2e.support.workspace import Workspace
from tools.localcluster import images

SERVER = """\
import http.server

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = open("/opt/model/answer.txt", "rb").read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
DOCKERFILE = """\
FROM docker.io/library/python:3.11-slim-bookworm
COPY server.py answer.txt /opt/model/
USER 65532:65532
ENTRYPOINT ["python3", "/opt/model/server.py"]
"""


@pytest.fixture(scope="module")
def first(registry):
    """Return version 1 as the registry describes it."""
    return registry.call("GET", f"model-versions/get?name={MODEL}&version=1")["model_version"]


@pytest.fixture(scope="module")
def space(cluster, kube, registry, first):
    """Apply every form of a URI that needs a registry or its artifact store.

    All of them are applied at once.
    """
    name = f"e2e-models-{secrets.token_hex(2)}"
    kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    registry.set_alias("first", 1)
    model_id = first["source"].removeprefix("models:/")
    run = registry.call("GET", f"runs/get?run_id={first['run_id']}")["run"]
    artifacts = registry.call("GET", f"logged-models/{model_id}")["model"]["info"]["artifact_uri"]
    logged = registry.call("GET", f"logged-models/{model_id}")["model"]["info"]["name"]
    assert run["info"]["run_id"] == first["run_id"]
    uris = {
        "version": f"models:/{MODEL}/1",
        "alias": f"models:/{MODEL}@first",
        "stage": f"models:/{MODEL}/production",
        "logged": f"models:/{model_id}",
        "run": f"runs:/{first['run_id']}/{logged}",
        "artifacts": artifacts,
    }
    try:
        space = Workspace(cluster, kube, name)
        for case, uri in uris.items():
            space.apply(case, model=uri)
        yield space, uris
    finally:
        kube.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.mark.parametrize("name", ["version", "alias", "stage", "logged", "run", "artifacts"])
def test_uri_form_serves(space, name):
    space, uris = space
    status = space.wait_ready(name, timeout=200)
    version = int(status["model"].get("version") or 1)
    assert predict(status["url"]) == version
    assert status["model"]["uri"] == uris[name]
    assert status["model"]["digest"].startswith("sha256:")


@pytest.mark.parametrize("flavor", ["lightgbm", "xgboost"])
def test_boosted_trees_are_served_by_the_same_image_without_pandas(workspace, registry, flavor):
    model = f"{flavor}-{secrets.token_hex(2)}"
    version = registry.train(f"--flavor={flavor}", model=model)
    workspace.apply("shop", model=f"models:/{model}/{version}")
    status = workspace.wait_ready("shop", timeout=200)
    assert predict(status["url"]) == version
    with urlopen(f"{workspace.urls('shop')['service']}/metrics", timeout=10) as answer:
        (info,) = (line for line in answer.read().decode().splitlines() if "_model_info{" in line)
    print(info, flush=True)
    assert f'flavor="mlflow.{flavor}"' in info
    assert 'fast_path="true"' in info


def test_model_on_a_volume(workspace, cluster):
    """Fill the claim with a Job, as a team would.

    The Job runs the image's own command.
    """
    name = workspace.namespace
    path = f"/tmp/{name}"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": name,
            "hostPath": {"path": path, "type": "DirectoryOrCreate"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": name},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    source = bucket.source_of(workspace, 1)
    container = {
        "name": "fill",
        "image": "localhost/sluicegate-scorer:dev",
        "args": ["fetch", source, "/data/shop/v1"],
        "env": [{"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow.mlflow.svc:5000"}],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "models"}}],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "fill", "namespace": name},
        "spec": {"backoffLimit": 2, "template": {"spec": pod}},
    }
    try:
        for manifest in (volume, claim, job):
            cluster.kubectl("apply", "-f", "-", input=dumps(manifest))
        cluster.kubectl("-n", name, "wait", "job/fill", "--for=condition=Complete", "--timeout=90s")
        workspace.apply("shop", model="pvc://models/shop/v1")
        status = workspace.wait_ready("shop", timeout=120)
        assert predict(status["url"]) == 1
    finally:
        cluster.kubectl("delete", "pv", name, "--wait=false")


def test_model_baked_into_an_image_of_a_runtime_of_ones_own(workspace, cluster, tmp_path: Path):
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "answer.txt").write_text("baked")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    cluster.load_image(images.build(tmp_path / "Dockerfile", tmp_path, "localhost/e2e-baked:1"))
    runtime = {"name": "custom", "image": "localhost/e2e-baked:1"}
    workspace.apply("baked", model="image:///opt/model", runtime=runtime)
    status = workspace.wait_ready("baked", timeout=120)
    with urlopen(status["url"] + "/anything", timeout=10) as answer:
        assert answer.read() == b"baked"


def test_model_in_an_s3_bucket(workspace):
    """Fetch a model from a real S3 server.

    The credentials come from a Secret of the workload's namespace.
    """
    (uri,) = bucket.fill(workspace, 1)
    workspace.apply("shop", model=uri, podTemplate=bucket.POD_TEMPLATE)
    status = workspace.wait_ready("shop", timeout=120)
    assert predict(status["url"]) == 1
    workspace.apply("gone", model=uri + "0", podTemplate=bucket.POD_TEMPLATE)
    condition = workspace.wait_condition("gone", "Ready", "False", "ModelFetchFailed", timeout=120)
    assert uri + "0" in condition["message"]
