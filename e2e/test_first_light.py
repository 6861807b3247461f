"""The first steps of a new user: apply, wait for Ready, and get a prediction.

At rest the operator writes nothing, and a deleted resource leaves nothing behind.
"""

import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from e2e.support.kube import wait_until
from e2e.support.load import predict

QUICKSTART = Path(__file__).resolve().parents[1] / "examples/quickstart.yaml"
CHILDREN = ("deployment", "controllerrevision", "service", "hpa", "pdb", "httproute", "pod")
REST = 20.0
"""How many seconds the test watches the resources at rest."""


def test_quickstart(kubectl, workspace, wait_ready):
    name = "recommendation-engine"
    kubectl(
        "apply",
        "-f",
        "-",
        input=QUICKSTART.read_text().replace("namespace: default", f"namespace: {workspace.namespace}"),
    )
    kubectl("-n", workspace.namespace, "wait", f"mdep/{name}", "--for=condition=Ready", "--timeout=120s", timeout=130)
    status = wait_ready(name)

    version = int(status["model"]["version"])
    assert status["url"].endswith(f"/{workspace.namespace}/{name}")
    assert status["address"] == f"http://{name}.{workspace.namespace}.svc"
    assert predict(status["url"]) == version
    assert predict(workspace.urls(name)["service"]) == version

    header, row = kubectl("-n", workspace.namespace, "get", "mdep").splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "MODEL", "VERSION", "CANARY", "REPLICAS", "URL", "AGE"]
    assert row.split()[:-1] == [name, "True", "Serving", f"models:/{name}@champion", str(version), "1", status["url"]]

    kubectl("-n", workspace.namespace, "delete", "mdep", name, "--timeout=60s")
    wait_until(
        "every child to be gone",
        lambda: (
            not [each for kind in CHILDREN for each in workspace.list(kind, **{"sluicegate.dev__deployment": name})]
        ),
        90,
    )
    wait_until("the gateway to know the path no more", lambda: code(status["url"]) == 404, 30)


def code(url):
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


@pytest.fixture
def at_rest(apply, workspace, wait_ready):
    """Create three resources on which the operator has nothing left to do.

    One is fixed, one is autoscaled, and one has an old revision.
    """
    apply("fixed", model=1)
    apply("ranged", model=2, scaling={"min": 1, "max": 2}, resources={"requests": {"cpu": "10m"}})
    apply("past", model=1, rollout={"scaleDownDelay": "0s"})
    wait_ready("past")
    apply("past", model=2, rollout={"scaleDownDelay": "0s"})
    for name in ("fixed", "ranged", "past"):
        wait_ready(name)
    workspace.wait_only("past", workspace.stable("past"))
    wait_until("the autoscaler to measure", lambda: measuring(workspace), 120, every=0.5)
    wait_until("other tests' namespaces to be gone", lambda: not workspace.kube.leaving(), 120, every=0.5)
    return workspace


def measuring(space):
    (found,) = space.list("hpa")
    conditions = {
        condition["type"]: condition["status"] for condition in (found.get("status") or {}).get("conditions") or ()
    }
    return conditions.get("ScalingActive") == "True" and space.condition("ranged", "Ready").get("status") == "True"


def test_at_rest_nothing_is_written_not_even_by_a_new_operator(at_rest, operator, alone):
    """Check that 20s pass without a write.

    What still settles may take a while before that, such as a draining pod of another test.
    """
    old = operator.wait_leading()
    before, objects = operator.writes(old), at_rest.applied()
    calm = time.monotonic()
    until = calm + 100
    while time.monotonic() - calm < REST:
        time.sleep(1)
        if alone and (now := operator.writes(old)) != before:
            assert time.monotonic() < until, f"the operator never rests; it wrote {now - before}"
            before, calm = now, time.monotonic()
    assert at_rest.applied() == objects

    operator.kill(old)
    new = operator.wait_leading(other_than=operator.container(old))
    wait_until("the new operator to have looked at each", lambda: operator.reconciles(new) >= 3)
    time.sleep(3)
    assert at_rest.applied() == objects
    if alone:
        assert not operator.writes(new)
