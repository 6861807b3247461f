"""A model that requires a package which its image lacks.

The scoring pod refuses the version and names the package, or an init container installs it before the server starts.
"""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from e2e.support.kube import wait_until
from e2e.support.load import predict
from e2e.support.packages import Index, locked_wheels, write_wheel


@pytest.fixture(scope="module")
def asking(registry):
    """Register versions of the example model that require missing packages.

    Returns:
        The versions by requirement.
    """
    return {each: registry.train("--require", each) for each in ("shop-features==1.0", "nothing-like-it==1.0")}


@pytest.fixture
def index(cluster, namespace, tmp_path):
    """Run an index with the packages of the image and one additional package."""
    folder = Path(tempfile.mkdtemp(prefix=f"{namespace}-", dir="/tmp"))
    folder.chmod(0o755)
    made = Index(cluster, namespace, folder)
    write_wheel(tmp_path, "shop-features", "1.0")
    made.add(*locked_wheels().iterdir(), *tmp_path.glob("*.whl"))
    made.start()
    yield made
    shutil.rmtree(folder)


@pytest.fixture
def shared(cluster, namespace):
    """Create a claim for installed packages that many pods may write to.

    The setting `cacheClaim` names such a claim. A pod template may name one as well.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{namespace}-environments-", dir="/tmp"))
    folder.chmod(0o777)
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": namespace}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {**common, "capacity": {"storage": "5Gi"}, "hostPath": {"path": str(folder)}},
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "environments", "namespace": namespace},
        "spec": {**common, "resources": {"requests": {"storage": "5Gi"}}},
    }
    for manifest in (volume, claim):
        cluster.kubectl("apply", "-f", "-", input=json.dumps(manifest))
    yield {"name": "environments", "emptyDir": None, "persistentVolumeClaim": {"claimName": "environments"}}
    cluster.kubectl("delete", "pv", namespace, "--wait=false")
    shutil.rmtree(folder, ignore_errors=True)


def test_a_version_that_asks_for_a_package_the_image_lacks_is_refused_by_its_name(workspace, asking, load):
    workspace.apply("shop", model=1)
    workspace.wait_ready("shop")
    with load("shop", rate=5) as steady:
        workspace.apply("shop", model=asking["nothing-like-it==1.0"])
        condition = workspace.wait_condition("shop", "Ready", "False", "ModelDependencyMissing", timeout=120)
        print(condition["message"])
        assert "nothing-like-it==1.0 (missing)" in condition["message"]
        assert "spec.runtime.dependencies: Install" in condition["message"]
        assert workspace.condition("shop", "Available")["status"] == "True"
    steady.check(1, 1)
    workspace.apply(
        "shop",
        model=asking["nothing-like-it==1.0"],
        runtime={"env": [{"name": "SLUICEGATE_DEPENDENCIES", "value": "warn"}]},
    )
    workspace.wait_ready("shop")
    workspace.wait_answers("shop", asking["nothing-like-it==1.0"])


@pytest.mark.timeout(600)
def test_what_a_version_asks_for_is_installed_once_and_another_pod_needs_no_index(workspace, asking, index, shared):
    install = {"name": "install", "env": [{"name": "UV_DEFAULT_INDEX", "value": index.url}]}
    fields = {
        "runtime": {"dependencies": "Install"},
        "podTemplate": {"spec": {"initContainers": [install], "volumes": [shared]}},
        "rollout": {"scaleDownDelay": "3s", "progressDeadline": "9m"},
    }
    workspace.apply("shop", model=asking["shop-features==1.0"], **fields)
    status = workspace.wait_ready("shop", timeout=400)
    assert predict(status["url"]) == asking["shop-features==1.0"]
    told = [last_words(pod, "install") for pod in workspace.pods("shop")]
    print(told)
    assert [each["installed"] for each in told] == [True]
    workspace.apply("absent", model=asking["nothing-like-it==1.0"], **fields)
    condition = workspace.wait_condition("absent", "Ready", "False", "DependenciesNotInstalled", timeout=180)
    print(condition["message"])
    assert "nothing-like-it" in condition["message"]
    assert "package index" in condition["message"]
    workspace.kube.delete("mdep", "absent", workspace.namespace)
    index.stop()
    workspace.apply("shop", model=asking["shop-features==1.0"], scaling={"replicas": 2}, **fields)
    wait_until("a second pod", lambda: status_of(workspace) == 2, 180)
    told = [last_words(pod, "install") for pod in workspace.pods("shop")]
    assert sorted(each["installed"] for each in told) == [False, True]
    assert len({each["environment"] for each in told}) == 1


def status_of(workspace):
    """Return the number of ready pods."""
    return sum(
        condition["type"] == "Ready" and condition["status"] == "True"
        for pod in workspace.pods("shop")
        for condition in pod["status"].get("conditions", ())
    )


def last_words(pod, container):
    """Return the termination message of an init container."""
    (found,) = [status for status in pod["status"]["initContainerStatuses"] if status["name"] == container]
    return json.loads(found["state"]["terminated"]["message"])
