"""Models in a real S3 bucket, and the Secret that lets pods fetch them.

A Job copies the models from the registry into the bucket.
"""

from __future__ import annotations

from json import dumps
from typing import Any

from e2e.support.kube import wait_until
from e2e.support.workspace import Workspace
from tools.localcluster import up
from tools.localcluster.addons.s3 import ACCESS_KEY, PORT, SECRET_KEY

ACCESS = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": f"http://s3.s3-system.svc:{PORT}",
}
POD_TEMPLATE = {"spec": {"initContainers": [{"name": "fetch", "envFrom": [{"secretRef": {"name": "s3"}}]}]}}
"""`spec.podTemplate` of a model that is fetched from the bucket."""
UPLOAD = """\
import os, pathlib, subprocess, boto3
s3 = boto3.client("s3")
if "models" not in [each["Name"] for each in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket="models")
for number, source in enumerate(os.environ["SOURCES"].split()):
    folder = f"/tmp/{number}"
    subprocess.run(["sluicegate-scorer", "fetch", source, folder], check=True)
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file():
            s3.upload_file(str(path), "models", f"{os.environ['PREFIX']}/v{number + 1}/{path.relative_to(folder)}")
"""


def fill(workspace: Workspace, *versions: int) -> list[str]:
    """Copy versions of the example model into the bucket, and return their URIs.

    It also creates the Secret `s3` in the namespace.
    """
    up(workspace.cluster.name, addons=("gateway-crds", "dns", "metrics", "traefik", "s3"))
    namespace = workspace.namespace
    sources = [source_of(workspace, version) for version in versions]
    env = {"MLFLOW_TRACKING_URI": "http://mlflow.mlflow.svc:5000", "SOURCES": " ".join(sources), "PREFIX": namespace}
    metadata = {"name": "s3", "namespace": namespace}
    secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": ACCESS}
    container = {
        "name": "upload",
        "image": "localhost/sluicegate-scorer:dev",
        "command": ["python3", "-c", UPLOAD],
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "envFrom": [{"secretRef": {"name": "s3"}}],
    }
    job: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "upload", "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    for manifest in (secret, job):
        workspace.cluster.kubectl("apply", "-f", "-", input=dumps(manifest))
    workspace.cluster.kubectl("-n", namespace, "wait", "job/upload", "--for=condition=Complete", "--timeout=90s")
    return [f"s3://models/{namespace}/v{number + 1}" for number in range(len(versions))]


def source_of(workspace: Workspace, version: int) -> str:
    """Return the location of a version's artifacts, as the operator resolves it."""
    workspace.apply("asked", model=version, scaling={"replicas": 0})
    resolved = wait_until("a resolution", lambda: (workspace.status("asked").get("model") or {}).get("source"), 30)
    workspace.kube.delete("mdep", "asked", workspace.namespace)
    wait_until("it to go", lambda: workspace.get("mdep", "asked") is None, 30)
    return str(resolved)
