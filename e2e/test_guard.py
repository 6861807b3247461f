"""An alias moves to a version with a problem.

The version does not fit the callers, or it fails to load. Neither causes an outage or an endless loop.
"""

import time

from e2e.support.kube import wait_until
from e2e.support.load import predict
from e2e.support.registry import MODEL
from e2e.support.watch import Watch


def test_a_version_that_needs_one_more_column_waits_until_it_is_allowed(workspace, registry, load, kube):
    needy, alias = registry.train("--column", "age"), workspace.namespace
    registry.set_alias(alias, 1)
    workspace.apply("shop", model=f"models:/{MODEL}@{alias}")
    workspace.wait_ready("shop")
    with load("shop", rate=15) as steady, Watch(kube, "mdep", workspace.namespace) as seen:
        registry.set_alias(alias, needy)
        condition = workspace.wait_condition("shop", "Ready", "False", "SignatureChanged", timeout=120)
        assert "input age (double) is required and did not exist" in condition["message"]
        time.sleep(3)
    steady.check(1, 1)
    print(f"held after {len(seen.of('shop'))} states of the resource: {condition['message']}")
    assert predict(workspace.urls("shop")["gateway"]) == 1
    held = {pod["metadata"]["uid"] for pod in workspace.pods("shop")}
    workspace.apply("shop", model={"uri": f"models:/{MODEL}@{alias}", "allowSignatureChange": True})
    workspace.wait_ready("shop")
    assert workspace.status("shop")["model"]["version"] == str(needy)
    stable = next(revision for revision in workspace.status("shop")["revisions"] if revision["role"] == "Stable")
    assert stable["version"] == str(needy)
    mine = [pod for pod in workspace.pods("shop") if stable["revision"] in pod["metadata"]["name"]]
    assert {pod["metadata"]["uid"] for pod in mine} <= held, "the pods that waited take over"
    registry.delete_alias(alias)


def test_a_version_that_cannot_be_loaded_is_given_up_after_its_deadline_and_tried_again_when_asked(
    workspace, registry, load, sluicegate
):
    broken, alias = registry.train("--broken", "load"), workspace.namespace
    registry.set_alias(alias, 1)
    workspace.apply("shop", model=f"models:/{MODEL}@{alias}", rollout={"progressDeadline": "25s"})
    workspace.wait_ready("shop")

    def roles():
        return {revision["version"]: revision["role"] for revision in workspace.status("shop")["revisions"]}

    with load("shop", rate=15) as steady:
        registry.set_alias(alias, broken)
        wait_until("the version to be given up", lambda: roles() == {"1": "Stable", str(broken): "Failed"}, 120)
        wait_until("its pods to go", lambda: len(workspace.pods("shop")) == 1, 60)
        condition = workspace.condition("shop", "Ready")
        assert (condition["status"], condition["reason"]) == ("False", "ModelLoadFailed")
        assert "a_package_that_is_not_in_the_image" in condition["message"]
        print(condition["message"])
        code, said = sluicegate("retry", "shop")
        assert (code, "is tried again" in said) == (0, True)
        assert roles()[str(broken)] == "Candidate"
        registry.set_alias(alias, 1)
        workspace.wait_ready("shop")
    steady.check(1, 1)
    assert roles() == {"1": "Stable", str(broken): "Parked"}
    registry.delete_alias(alias)
