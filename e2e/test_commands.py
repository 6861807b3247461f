"""`sluicegate get` and `sluicegate diff` on the real node.

Their output matches the state of the cluster, and what happens after the change.
"""

import json
import re

from e2e.support.registry import MODEL

SPEC = {"rollout": {"scaleDownDelay": "3s"}, "scaling": {"replicas": 1}}


def manifest(version, **spec):
    model = {"uri": f"models:/{MODEL}/{version}"}
    kind = {"apiVersion": "sluicegate.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "shop"}}
    return json.dumps({**kind, "spec": {**SPEC, "model": model, **spec}})


def test_get_and_diff_match_the_cluster(sluicegate, workspace):
    workspace.apply("shop", model=1, **SPEC)
    workspace.wait_ready("shop")
    pod = workspace.pods("shop")[0]["metadata"]["name"]
    assert sluicegate("diff", "-f", "-", given=manifest(1)) == (0, f"{workspace.namespace}/shop: no change\n")

    code, text = sluicegate("diff", "-f", "-", given=manifest(1, scaling={"replicas": 2}))
    assert code == 1
    assert re.search(r"1 pod of shop-\w+ starts \(1 -> 2\)", text), text
    assert "drain" not in text

    canary = {"weight": 10, "model": {"uri": f"models:/{MODEL}/2"}}
    resolve = ("--resolve", f"models:/{MODEL}/2=2")
    code, text = sluicegate("diff", "-f", "-", *resolve, given=manifest(1, canary=canary))
    assert code == 1
    promised = re.search(r"new revision (shop-\S+) .* as Canary", text)
    assert promised, text
    assert pod not in text, "no pod of the base restarts"

    workspace.apply("shop", model=1, canary=canary, **SPEC)
    workspace.wait_ready("shop")
    assert workspace.pods("shop", workspace.stable("shop"))[0]["metadata"]["name"] == pod
    _, output = sluicegate("get", "shop")
    print(output)
    rows = {line.split()[0]: line.split() for line in output.splitlines() if line.startswith("shop-")}
    assert promised[1] in rows or promised[1].endswith("(new)"), "the revision that diff had named"
    weights = {row[2]: row[4:6] for row in rows.values()}
    assert weights == {"Stable": ["90%", "90%"], "Canary": ["10%", "10%"]}
    assert {each["metadata"]["name"] for each in workspace.pods("shop")} <= set(re.findall(r"shop-\w+-\w+-\w+", output))
    _, table = sluicegate("get")
    assert re.search(rf"shop +True +Serving +{MODEL}/1 +1 +10%", table), table
