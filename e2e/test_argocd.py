"""A real Argo CD deploys ModelDeployments from Git.

Commits move the traffic, and the health in Argo CD matches the resource. The operator never makes it OutOfSync.
"""

from collections import Counter

import pytest

from e2e.support.argo import PATCH, Application, Git
from e2e.support.kube import wait_until
from e2e.support.load import predict
from e2e.support.registry import MODEL
from tools.localcluster import lifecycle
from tools.localcluster.addons import ALL

SMALL = {"requests": {"cpu": "50m"}}
QUICK = {"scaleUp": {"stabilizationWindowSeconds": 0}, "scaleDown": {"stabilizationWindowSeconds": 5}}


@pytest.fixture(scope="module")
def argo(cluster):
    """Run Argo CD beside the node for these tests.

    The health check is installed as the guide describes.
    """
    lifecycle.up(cluster.name, addons=("argocd",))
    cluster.kubectl("-n", "argocd", "patch", "configmap", "argocd-cm", "--type", "merge", "--patch-file", str(PATCH))
    yield cluster
    ALL["argocd"].stop(cluster)


@pytest.fixture
def app(argo, kube, namespace, tmp_path):
    """Yield an Application for the test's namespace, with an empty repository."""
    with Application(argo, kube, Git(argo, namespace, tmp_path), namespace) as app:
        yield app


def shop(version, annotations=None, **spec):
    """Return the manifest that a user commits."""
    return {
        "apiVersion": "sluicegate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "shop", "annotations": annotations or {}},
        "spec": {"model": {"uri": f"models:/{MODEL}/{version}"}, "rollout": {"scaleDownDelay": "3s"}, **spec},
    }


def serving(app, workspace, **spec):
    """Serve version 1 from a commit."""
    app.wait(app.commit(shop(1, **spec)), "Healthy")
    workspace.wait_ready("shop")
    return workspace


def health(resources):
    return resources["ModelDeployment/shop"]["health"]


def test_a_commit_serves_and_the_next_one_moves_the_traffic_without_a_lost_request(app, workspace, load):
    serving(app, workspace)
    assert app.healths()[-2:] == ["Progressing", "Healthy"]
    first = workspace.stable("shop")
    with load("shop") as steady:
        wait_until("some answers", lambda: steady.total > 100)
        before = app.position()
        app.wait(app.commit(shop(2)), "Healthy")
        workspace.wait_ready("shop")
        workspace.wait_only("shop", workspace.stable("shop"))
        wait_until("every client to be answered by version 2", lambda: steady.settled_on(2), 30)
    steady.check(1, 2)
    assert app.healths(before) == ["Healthy", "Progressing", "Healthy"]
    assert app.syncs(before)[-1] == "Synced"
    assert app.syncs(before).count("OutOfSync") <= 1, "only between the commit and its sync"
    assert workspace.stable("shop") != first


def test_children_are_shown_below_their_owner_and_are_neither_compared_nor_pruned(app, workspace):
    serving(app, workspace)
    before = {child["metadata"]["uid"] for child in children(workspace)}
    assert set(app.wait(app.commit(shop(1, scaling={"replicas": 2})), "Healthy")) == {"ModelDeployment/shop"}

    def shown():
        nodes = {each["uid"]: each for each in app.tree()}
        return nodes if {child["metadata"]["uid"] for child in children(workspace)} <= set(nodes) else None

    nodes = wait_until("Argo CD to show every child", shown, 30)
    owner = workspace.mdep("shop")["metadata"]["uid"]
    for child in children(workspace):
        assert [parent["uid"] for parent in nodes[child["metadata"]["uid"]]["parentRefs"]] == [owner]
    pods = {pod["metadata"]["uid"] for pod in workspace.pods("shop")}
    assert len(pods) == 2
    assert pods <= set(nodes)
    assert before <= {child["metadata"]["uid"] for child in children(workspace)}, "nothing was pruned"


def children(space):
    kinds = ("deployment", "service", "httproute", "controllerrevision", "pdb", "hpa")
    return [each for kind in kinds for each in space.list(kind)]


def test_an_unknown_version_is_degraded_with_the_reason_and_the_old_one_serves(app, workspace):
    serving(app, workspace)
    found = health(app.wait(app.commit(shop(99)), "Degraded"))
    stalled = workspace.condition("shop", "Stalled")
    assert found["message"] == f"{stalled['reason']}: {stalled['message']}"
    assert found["message"].startswith("VersionNotFound: ")
    assert predict(workspace.status("shop")["url"]) == 1

    before = app.position()
    app.wait(app.commit(shop(2)), "Healthy")
    assert "Healthy" not in app.healths(before)[:-1], "healthy before it was"
    workspace.wait_answers("shop", 2)


def test_paused_is_suspended_and_goes_on(app, workspace):
    serving(app, workspace)
    found = health(app.wait(app.commit(shop(2, paused=True)), "Suspended"))
    assert "spec.paused" in found["message"]
    assert predict(workspace.status("shop")["url"]) == 1
    app.wait(app.commit(shop(2)), "Healthy")
    workspace.wait_answers("shop", 2)


def test_scaling_and_a_new_operator_leave_it_in_sync(app, workspace, kube, load, operator):
    """Check that none of these changes counts as a difference.

    The changes are the autoscaler's replicas, the status, a restart of the operator, and a user's annotation.
    """
    serving(app, workspace, resources=SMALL, scaling={"min": 1, "max": 2, "behavior": QUICK})
    revision, before = workspace.stable("shop"), app.position()
    generation = workspace.mdep("shop")["metadata"]["generation"]
    with load("shop", rate=40) as steady:
        wait_until(
            "two pods under load",
            lambda: workspace.child("deployment", "shop", revision)["spec"]["replicas"] == 2,
            150,
            every=0.3,
        )
        operator.kill(operator.wait_leading())
        operator.wait_leading()
        wait_until("both pods to be ready", lambda: ready_replicas(workspace, revision) == 2, 90, every=0.3)
    steady.check(1)
    pin = {"sluicegate.dev/pin": revision}
    kube.merge("mdep", "shop", workspace.namespace, {"metadata": {"annotations": pin}})
    resynced = app.status["reconciledAt"]
    app.look()
    wait_until("Argo CD to have compared again", lambda: app.status["reconciledAt"] != resynced, 30)
    assert app.syncs(before) == ["Synced"]
    assert pin.items() <= workspace.mdep("shop")["metadata"]["annotations"].items()
    assert workspace.mdep("shop")["metadata"]["generation"] == generation, "somebody wrote the spec"
    for entry in workspace.mdep("shop")["metadata"]["managedFields"]:
        if entry["manager"].startswith("sluicegate"):
            assert set(entry["fieldsV1"]) == {"f:status"}, entry


def ready_replicas(space, revision):
    return space.child("deployment", "shop", revision)["status"].get("readyReplicas", 0)


def test_a_spec_edited_by_hand_is_put_back_and_the_operator_follows(app, workspace, kube, load):
    serving(app, workspace)
    before, revision = app.position(), workspace.stable("shop")
    commit = app.status["sync"]["revision"]
    with load("shop", rate=25) as steady:
        wait_until("some answers", lambda: steady.total > 50)
        kube.merge("mdep", "shop", workspace.namespace, {"spec": {"model": {"uri": f"models:/{MODEL}/2"}}})
        wait_until("Argo CD to notice", lambda: "OutOfSync" in app.syncs(before))
        app.wait(commit, "Healthy")
        workspace.wait_ready("shop")
        workspace.wait_only("shop", revision)
        wait_until("every client to be answered by version 1", lambda: steady.settled_on(1), 30)
    steady.check()
    assert workspace.stable("shop") == revision
    assert workspace.mdep("shop")["spec"]["model"]["uri"] == f"models:/{MODEL}/1"


def test_a_later_wave_waits_until_the_model_serves(app, workspace):
    wave = {"argocd.argoproj.io/sync-wave": "1"}
    after = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "after", "annotations": wave}}
    app.wait(app.commit(shop(1), after), "Healthy")
    ready = workspace.condition("shop", "Ready")
    assert ready["status"] == "True"
    created = workspace.get("configmap", "after")["metadata"]["creationTimestamp"]
    assert created >= ready["lastTransitionTime"]


def test_a_commit_that_moves_the_weight_moves_the_traffic(app, workspace, load):
    """Move the weight to a canary, from 10% to 60%, and then promote the canary.

    The same pods continue to serve, and no request is lost.
    """
    space = serving(app, workspace)

    def canary(weight):
        return {"weight": weight, "model": {"uri": f"models:/{MODEL}/2"}}

    with load("shop", rate=25) as steady:
        before = app.position()
        for weight in (10, 60):
            app.wait(app.commit(shop(1, canary=canary(weight))), "Healthy")
            space.wait_ready("shop")
            assert space.status("shop")["canary"] == f"{weight}%"
            share = measured(steady)
            assert abs(share - weight) <= 2, f"{share} % at weight {weight}"
        pods = {pod["metadata"]["uid"] for pod in space.pods("shop") if version(pod) != space.stable("shop")}
        app.wait(app.commit(shop(2)), "Healthy")
        space.wait_ready("shop")
        space.wait_only("shop", space.stable("shop"))
        wait_until("every client to be answered by version 2", lambda: steady.settled_on(2), 30)
    steady.check()
    assert {pod["metadata"]["uid"] for pod in space.pods("shop")} == pods
    assert set(app.healths(before)) == {"Healthy", "Progressing"}


def test_an_alias_that_moves_moves_the_traffic_and_leaves_the_application_in_sync(app, workspace, registry, load):
    alias = workspace.namespace
    registry.set_alias(alias, 1)
    serving(app, workspace, model={"uri": f"models:/{MODEL}@{alias}"})
    with load("shop") as steady:
        wait_until("some answers", lambda: steady.total > 100)
        before = app.position()
        registry.set_alias(alias, 2)
        wait_until("every client to be answered by version 2", lambda: steady.settled_on(2), 90)
        workspace.wait_ready("shop")
        wait_until("Argo CD to see it Healthy again", lambda: app.healths(before)[-1] == "Healthy", 30)
    steady.check(1, 2)
    assert set(app.healths(before)) <= {"Healthy", "Progressing"}, "without a sync Argo CD looks when it likes"
    assert set(app.syncs(before)) == {"Synced"}
    registry.delete_alias(alias)


def version(pod):
    return pod["metadata"]["labels"]["sluicegate.dev/revision"]


def measured(steady, requests=300):
    """Return the percentage of the gateway's responses that come from the canary.

    It skips the first responses, which may still follow the old weights.
    """
    settled = seen(steady).total() + 60
    wait_until("the gateway to have taken the weights", lambda: seen(steady).total() >= settled, 90)
    before = seen(steady)
    wait_until("enough answers", lambda: (seen(steady) - before).total() >= requests, 90)
    found = seen(steady) - before
    return 100 * found[2] / found.total()


def seen(steady):
    """Count the responses by version, of the clients that use the gateway."""
    return sum((lane.versions for lane in steady.lanes if lane.name.startswith("gateway/")), Counter())
