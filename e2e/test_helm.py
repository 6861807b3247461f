"""The chart with real Helm.

Installing, changing or removing the operator costs no model a request.
"""

import json

import pytest

from e2e.support.kube import wait_until
from e2e.support.load import predict
from e2e.support.operator import Operator
from tools.demo import install
from tools.localcluster import ClusterError
from tools.localcluster.paths import socket_dir
from tools.localcluster.shell import run

NAMESPACE = ("--namespace", "sluicegate-system")


@pytest.fixture
def shop(apply, wait_ready, workspace):
    """Serve version 1 with two pods."""
    apply("shop", model=1, scaling={"replicas": 2})
    wait_ready("shop")
    return workspace


def uids(space):
    """Return the UIDs of all objects of a model. A replaced pod has a different UID."""
    kinds = ("pod", "deployment", "controllerrevision", "service", "pdb", "httproute")
    return {(kind, each["metadata"]["name"], each["metadata"]["uid"]) for kind in kinds for each in space.list(kind)}


def restarts(space):
    return sum(status["restartCount"] for pod in space.pods("shop") for status in pod["status"]["containerStatuses"])


def only_new_pods(operator, old):
    """Wait until two ready operators run, none of which is in `old`, and one leads.

    Returns:
        The pod that leads.
    """
    names = {each["metadata"]["name"] for each in old}

    def replaced():
        now = operator.pods()
        return len(now) == len(operator.ready_pods()) == 2 and not names & {each["metadata"]["name"] for each in now}

    wait_until("the operator's pods to be replaced", replaced, 120)
    return operator.wait_leading()


def revision(helm):
    return json.loads(helm("status", "sluicegate", *NAMESPACE, "--output", "json"))["version"]


def test_upgrade_and_rollback_under_load_lose_no_request_and_restart_no_model(cluster, helm, operator, shop, load):
    """Change the image and the settings of new revisions.

    Running models stay as they are.
    """
    image = ("--set", "image.tag=next", "--set", "settings.scorerImage=localhost/never-pulled:1")
    tag_image(cluster, "localhost/sluicegate:dev", "localhost/sluicegate:next")
    first, before, applied = revision(helm), uids(shop), shop.applied()
    with load("shop") as steady:
        old = operator.pods()
        helm("upgrade", *install.release(cluster), *image, "--set", "settings.logLevel=debug", "--wait")
        leader = only_new_pods(operator, old)
        assert leader["spec"]["containers"][0]["image"] == "localhost/sluicegate:next"
        wait_until("the new operator to have looked", lambda: operator.reconciles(leader) >= 1)
        wait_until("answers under the new operator", answers_more(steady, 200))
        assert (uids(shop), shop.applied(), restarts(shop)) == (before, applied, 0)

        old = operator.pods()
        helm("rollback", "sluicegate", str(first), *NAMESPACE, "--wait")
        leader = only_new_pods(operator, old)
        assert leader["spec"]["containers"][0]["image"] == "localhost/sluicegate:dev"
        wait_until("the old operator to have looked", lambda: operator.reconciles(leader) >= 1)
        wait_until("answers under the old operator", answers_more(steady, 200))
        assert (uids(shop), shop.applied(), restarts(shop)) == (before, applied, 0)
    steady.check(1)


def tag_image(cluster, name, other):
    socket = socket_dir(cluster.name) / "containerd.sock"
    run(["ctr", "-a", socket, "-n", "k8s.io", "images", "tag", "--force", name, other])


def answers_more(steady, number):
    enough = steady.total + number
    return lambda: steady.total >= enough


def uninstall(space, helm):
    """Uninstall the release, and wait until only the objects that it keeps are left."""
    helm("uninstall", "sluicegate", *NAMESPACE, "--wait")
    ours = ("-l", "app.kubernetes.io/instance=sluicegate", "-o", "name")
    kinds = "clusterrole,clusterrolebinding,all,cm,sa,role,rolebinding,pdb"
    wait_until("the release to be gone", lambda: not space.cluster.kubectl(*NAMESPACE, "get", kinds, *ours), every=0.5)


def test_models_outlive_an_uninstall_and_a_reinstall_changes_nothing(helm, operator, shop, load):
    before, applied = uids(shop), shop.applied()
    with load("shop") as steady:
        uninstall(shop, helm)
        wait_until("other tests' namespaces to be gone", lambda: not shop.kube.leaving(), 120, every=0.5)
        assert shop.cluster.kubectl("get", "crd", "modeldeployments.sluicegate.dev", "-o", "name")
        wait_until("answers without an operator", answers_more(steady, 200))
        assert (uids(shop), shop.applied()) == (before, applied)

        install.install_operator(shop.cluster)
        leader = operator.wait_leading()
        wait_until("the operator to have looked", lambda: operator.reconciles(leader) >= 1)
        wait_until("answers under the new operator", answers_more(steady, 200))
        assert (uids(shop), shop.applied(), restarts(shop)) == (before, applied, 0)
        assert not operator.writes(leader)
    steady.check(1)


def test_model_without_an_operator_heals_and_can_be_deleted(helm, shop):
    uninstall(shop, helm)
    gone = shop.pods("shop")[0]["metadata"]["name"]
    shop.kube.delete("pod", gone, shop.namespace)
    wait_until("another pod in its place", lambda: ready(shop) == 2 and gone not in names(shop), 120)
    assert predict(shop.urls("shop")["gateway"]) == 1
    shop.kube.delete("mdep", "shop", shop.namespace)
    kinds = ("deployment", "controllerrevision", "service", "pdb", "httproute", "pod")
    wait_until("nothing to be left", lambda: not any(shop.list(kind) for kind in kinds), 120)


def names(space):
    return {pod["metadata"]["name"] for pod in space.pods("shop")}


def ready(space):
    (deployment,) = space.list("deployment")
    return deployment["status"].get("readyReplicas", 0)


def test_wrong_values_are_refused_in_a_sentence_and_change_nothing(cluster, helm, operator):
    before, running = revision(helm), {pod["metadata"]["uid"] for pod in operator.pods()}
    with pytest.raises(ClusterError, match=r"settings.*additional properties 'registry' not allowed"):
        helm("upgrade", *install.release(cluster), "--set", "settings.registry.default.trackingUri=http://mlflow")
    with pytest.raises(ClusterError, match=r"settings.gateway.parentRefs\[1\] \(public\) requires a namespace"):
        helm("upgrade", *install.release(cluster), "--set", "settings.gateway.parentRefs[1].name=public")
    assert revision(helm) == before
    assert {pod["metadata"]["uid"] for pod in operator.pods()} == running


def test_operator_of_one_namespace_serves_it_and_touches_no_other(helm, workspace):
    """Check that the operator reads only this namespace and the platform's Gateway.

    The API server refuses none of its requests.
    """
    here, other = workspace.namespace, f"{workspace.namespace[:60]}-x"
    kube = workspace.kube
    kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    uninstall(workspace, helm)
    _, chart, _, _, *rest = install.release(workspace.cluster)
    try:
        only = ("--namespace", here, "--set", f"watchNamespace={here}", "--set", "crd.install=false")
        helm("install", "sluicegate", chart, *rest, *only, "--wait")
        spec = {"model": {"uri": "models:/recommendation-engine/1"}}
        outside = {"apiVersion": "sluicegate.dev/v1alpha1", "kind": "ModelDeployment", "spec": spec}
        kube.apply("mdep", {**outside, "metadata": {"name": "shop", "namespace": other}})
        workspace.apply("shop", model=1)
        workspace.wait_ready("shop")
        assert predict(workspace.urls("shop")["gateway"]) == 1
        status = (kube.get("mdep", "shop", other) or {}).get("status") or {}
        assert "conditions" not in status, "a resource of another namespace was looked at"
        assert not kube.list("deployment", other)
        logs = workspace.cluster.kubectl("-n", here, "logs", "-l", "app.kubernetes.io/name=sluicegate", "--tail=-1")
        assert "forbidden" not in logs.lower(), logs
    finally:
        kube.delete("mdep", "shop", here)
        helm("uninstall", "sluicegate", "--namespace", here, "--ignore-not-found", "--wait")
        kube.call("DELETE", f"/api/v1/namespaces/{other}")


@pytest.fixture
def second_operator(cluster, kube):
    """Install a second release that serves all namespaces, and remove it afterwards."""
    name, namespace = "second", "second-operator"
    values = (
        "--values",
        str(install.REPOSITORY / "e2e/values.yaml"),
        "--set",
        "replicas=1",
        "--set",
        "crd.install=false",
    )
    cluster.helm("install", name, str(install.CHART), "--namespace", namespace, "--create-namespace", *values)
    yield Operator(cluster, kube, namespace)
    cluster.helm("uninstall", name, "--namespace", namespace, "--wait")
    kube.call("DELETE", f"/api/v1/namespaces/{namespace}")


def test_second_operator_stands_back(operator, second_operator, shop, load):
    """Change a model while two releases serve all namespaces. Only the first one writes."""
    wait_until("the second operator to stand back", lambda: stands_back(second_operator), 90)
    with load("shop") as steady:
        shop.apply("shop", model=2, scaling={"replicas": 2})
        shop.wait_ready("shop")
        wait_until("every client to be answered by version 2", lambda: steady.settled_on(2), 60)
    steady.check(1, 2)
    assert shop.status("shop")["operator"].startswith("sluicegate-system/")
    [pod] = second_operator.ready_pods()
    assert second_operator.writes(pod)["Deployment ok"] == 0


def stands_back(operator):
    pods = operator.ready_pods()
    return bool(pods) and "sluicegate_standing_back_resources{" in operator.metrics(pods[0])
