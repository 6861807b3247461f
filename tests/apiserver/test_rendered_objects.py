"""The rendered objects on a real API server with the CRDs of the Gateway API.

The API server validates each golden example and the HTTPRoute of each step, by dry runs.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sluicegate.api.resource import decode
from sluicegate.cli.validation.documents import read
from sluicegate.cli.validation.gateway_api import RULES_FILE
from sluicegate.cli.validation.rules import routes

from tests.golden import cases, rendered
from tools.docsgen import gateway_api
from tools.localcluster.addons.gateway_crds import files
from tools.localcluster.tools import ensure_one

CASES = list(cases())


@pytest.fixture(scope="module")
def http_routes(kubectl: Any) -> Iterator[None]:
    """Install the CRD of HTTPRoutes, and remove it unless the cluster had it before."""
    crd = str(ensure_one(files) / "gateway.networking.k8s.io_httproutes.yaml")
    installed = kubectl("get", "-f", crd, check=False).code == 0
    if not installed:
        kubectl("apply", "--server-side", "-f", crd)
    deadline = time.monotonic() + 30
    while kubectl("get", "httproutes", check=False).code != 0:
        assert time.monotonic() < deadline, "the CRD is not served"
        time.sleep(0.2)
    yield
    if not installed:
        kubectl("delete", "--wait=true", "-f", crd)


def dry_run(kubectl: Any, namespace: str, manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        manifest["metadata"]["namespace"] = namespace
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", input=text)


def test_offline_rules_are_those_of_the_crd() -> None:
    assert gateway_api.text() == RULES_FILE.read_text(), "run `python -m tools.docsgen.gateway_api`"


@pytest.mark.usefixtures("http_routes")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_api_server_accepts_the_children(kubectl: Any, namespace: str, case: Path) -> None:
    dry_run(kubectl, namespace, list(yaml.safe_load_all(rendered(case))))


@pytest.mark.usefixtures("http_routes")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_api_server_accepts_the_route_of_each_step(kubectl: Any, namespace: str, case: Path) -> None:
    for document in read(str(case)):
        metadata = {"uid": "00000000-0000-0000-0000-000000000000", **document["metadata"]}
        for route in routes(decode({"metadata": metadata, "spec": document["spec"]})):
            dry_run(kubectl, namespace, [route])
