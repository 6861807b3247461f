"""GPUs with the real scheduler and kubelet.

The tests check which node gets a pod, and what the status says when no node fits. They also check that a rollout
continues when a GPU becomes free.
"""

import secrets
import time

import pytest

from e2e.support.kube import wait_until
from e2e.support.load import predict
from e2e.support.nodes import advertise, paper_node, real_node
from e2e.support.registry import MODEL
from e2e.support.watch import Watch

GPU, SLICE = "nvidia.com/gpu", "nvidia.com/mig-1g.5gb"
L4 = {f"{GPU}.product": "NVIDIA-L4", f"{GPU}.memory": "23034"}
SLICES = {f"{SLICE}.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", f"{SLICE}.memory": "4864"}
A100 = {f"{GPU}.product": "NVIDIA-A100-SXM4-40GB", f"{GPU}.memory": "40960"}


@pytest.fixture(scope="module")
def nodes(kube):
    """Yield two nodes with GPUs.

    The node that runs pods has two L4 and two slices.
    The node that exists only as an object has eight A100, and the taint of GPU nodes.
    """
    with (
        real_node(kube, {GPU: 2, SLICE: 2}, {**L4, **SLICES}) as real,
        paper_node(kube, f"a100-{secrets.token_hex(2)}", {GPU: 8}, A100) as paper,
    ):
        yield real, paper


def node_of(space, name):
    """Return the node to which the scheduler has bound the resource's pod."""
    return wait_until(
        f"a node for {name}", lambda: next((pod["spec"].get("nodeName") for pod in space.pods(name)), None), 60
    )


def serves(space, name, version):
    return all(predict(url) == version for url in space.urls(name).values())


def test_right_node_gets_the_pod(workspace, nodes):
    real, paper = nodes
    workspace.apply("l4", gpu={"products": ["NVIDIA-L4"], "minMemory": "23034Mi"})  # exactly the memory of the GPU
    workspace.apply("slice", gpu={"resource": SLICE, "products": list(SLICES.values())[:1], "minMemory": "4Gi"})
    workspace.apply("more", gpu={"minMemory": "23035Mi"})
    assert node_of(workspace, "more") == paper
    for name in ("l4", "slice"):
        workspace.wait_ready(name, timeout=180)
        assert node_of(workspace, name) == real
        assert serves(workspace, name, 1)
    asked = workspace.pods("slice")[0]["spec"]["containers"][0]["resources"]
    assert asked["limits"][SLICE] == asked["requests"][SLICE] == "1"


def test_product_of_the_other_kind(workspace, nodes):
    workspace.apply("big", gpu={"products": ["NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-40GB"]})
    assert node_of(workspace, "big") == nodes[1]


def test_no_such_gpu_is_told_and_correcting_it_is_enough(workspace, nodes):
    workspace.apply("wrong", gpu={"products": ["NVIDIA-H100-80GB-HBM3"]})
    workspace.apply("untolerated", gpu={"minMemory": "40Gi", "tolerations": []})
    workspace.apply("many", gpu={"count": 16})
    for name, words in {
        "wrong": ["No node has 1 nvidia.com/gpu", f"({GPU}.product)", "correct count, products", "node affinity"],
        "untolerated": ["tolerations in spec.gpu", "untolerated taint"],
        "many": ["No node has 16 nvidia.com/gpu", "Insufficient nvidia.com/gpu"],
    }.items():
        condition = workspace.wait_condition(name, "Ready", "False", "Unschedulable", timeout=60)
        print(f"{name}: {condition['message']}")
        assert [word for word in words if word not in condition["message"]] == []
        assert workspace.condition(name, "Stalled")["status"] == "False", "a node may be added until progressDeadline"
    workspace.apply("wrong", gpu={"products": ["NVIDIA-L4"]})
    workspace.wait_ready("wrong", timeout=180)
    assert serves(workspace, "wrong", 1)


def test_none_is_free_then_one_is(workspace, nodes, load):
    gpu = {"products": ["NVIDIA-L4"]}
    for name in ("holder", "shop"):
        workspace.apply(name, gpu=gpu)
    for name in ("holder", "shop"):
        workspace.wait_ready(name, timeout=180)
    first = workspace.stable("shop")
    with load("shop", rate=10) as steady:
        start = time.monotonic()
        workspace.apply("shop", model=2, gpu=gpu)
        condition = workspace.wait_condition("shop", "Ready", "False", "Unschedulable", timeout=60)
        print(f"after {time.monotonic() - start:.1f} s: {condition['message']}")
        assert "No node has 1 nvidia.com/gpu free" in condition["message"]
        assert "Insufficient nvidia.com/gpu" in condition["message"]
        assert workspace.condition("shop", "Available")["status"] == "True"
        assert workspace.condition("shop", "Stalled")["status"] == "False", "it may pass by itself"
        assert workspace.stable("shop") == first
        assert serves(workspace, "shop", 1)
        workspace.kube.delete("mdep", "holder", workspace.namespace)
        workspace.wait_ready("shop", timeout=180)
        assert workspace.stable("shop") != first
        wait_until("every client to be answered by version 2", lambda: steady.settled_on(2), 30)
    steady.check(1, 2)


def test_replacing_in_place_with_two_pods_loses_no_request(workspace, nodes, load):
    """Replace a model whose own pods use both GPUs."""
    gpu, rollout = {"products": ["NVIDIA-L4"]}, {"scaleDownDelay": "3s", "whenFull": "Replace"}
    workspace.apply("shop", gpu=gpu, rollout=rollout, scaling={"replicas": 2})
    workspace.wait_ready("shop", timeout=180)
    first = workspace.stable("shop")
    with load("shop", rate=10) as steady, Watch(workspace.kube, "mdep", workspace.namespace) as told:
        workspace.apply("shop", model=2, gpu=gpu, rollout=rollout, scaling={"replicas": 2})
        workspace.wait_ready("shop", timeout=180)
        wait_until("every client to be answered by version 2", lambda: steady.settled_on(2), 30)
    assert workspace.stable("shop") != first
    steady.check(1, 2)
    said = {
        condition["reason"]: condition.get("message", "")
        for seen in told.of("shop")
        for condition in seen.obj["status"]["conditions"]
    }
    print(said["Replacing"])
    assert "the operator replaces pods of" in said["Replacing"]


def test_replacing_in_place_with_one_pod_says_what_it_costs(workspace, nodes):
    gpu, rollout = {"products": ["NVIDIA-L4"], "count": 2}, {"whenFull": "Replace"}
    workspace.apply("shop", gpu=gpu, rollout=rollout)
    workspace.wait_ready("shop", timeout=180)
    workspace.apply("shop", model=2, gpu=gpu, rollout=rollout)
    workspace.wait_condition("shop", "Available", "False", "NoReadyPods", timeout=60)
    assert "The model is unavailable until one is ready" in workspace.condition("shop", "Ready")["message"]
    workspace.wait_ready("shop", timeout=180)
    workspace.wait_answers("shop", 2)


def test_a_node_that_gets_a_gpu_is_taken_at_once(workspace, nodes, kube):
    real, _ = nodes
    advertise(kube, real, {GPU: 0})
    try:
        workspace.apply("waiting", gpu={"products": ["NVIDIA-L4"]})
        workspace.wait_condition("waiting", "Ready", "False", "Unschedulable", timeout=60)
    finally:
        advertise(kube, real, {GPU: 2})
    workspace.wait_ready("waiting", timeout=180)
    assert node_of(workspace, "waiting") == real


def test_a_canary_on_another_kind_of_gpu(workspace, nodes, load):
    """Run a canary on a slice next to a stable revision on whole GPUs.

    Promoting the canary keeps its pod, and so the slice.
    """
    whole, piece = {"products": ["NVIDIA-L4"]}, {"resource": SLICE, "products": [SLICES[f"{SLICE}.product"]]}
    workspace.apply("shop", gpu=whole, rollout={"scaleDownDelay": "3s"})
    workspace.wait_ready("shop", timeout=180)
    with load("shop", rate=10) as steady:
        canary = {"weight": 20, "model": {"uri": f"models:/{MODEL}/2"}, "gpu": piece}
        workspace.apply("shop", gpu=whole, rollout={"scaleDownDelay": "3s"}, canary=canary)
        workspace.wait_condition("shop", "Ready", "True", timeout=180)
        asked = {
            pod["metadata"]["uid"]: {
                name for name in pod["spec"]["containers"][0]["resources"]["limits"] if "nvidia" in name
            }
            for pod in workspace.pods("shop")
        }
        assert sorted(map(sorted, asked.values())) == [[GPU], [SLICE]], "each revision has its own kind, and only that"
        workspace.apply("shop", model=2, gpu=piece, rollout={"scaleDownDelay": "3s"})
        workspace.wait_ready("shop", timeout=180)
        wait_until("every client to be answered by version 2", lambda: steady.settled_on(2), 30)
        left = {pod["metadata"]["uid"] for pod in workspace.pods("shop", workspace.stable("shop"))}
        assert left == {uid for uid, kinds in asked.items() if kinds == {SLICE}}, "the canary's pod goes on"
    steady.check(1, 2)
