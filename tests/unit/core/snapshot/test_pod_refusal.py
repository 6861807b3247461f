"""The field that cures a pod which the API server refuses."""

from typing import Any

import pytest
from sluicegate.core.snapshot import parse
from sluicegate.core.snapshot.pod_refusal import pod_refusal

FETCH = "set resources of container fetch in spec.podTemplate.spec.initContainers"
CASES = {
    "quota needs limits": (
        'pods "churn-1-x" is forbidden: failed quota: c: must specify limits.cpu for: fetch; limits.memory for: fetch',
        f"{FETCH} or change",
    ),
    "quota needs limits of two": (
        'pods "churn-1-x" is forbidden: failed quota: c: must specify limits.cpu for: fetch,model',
        f"{FETCH} and spec.resources or change",
    ),
    "limit range below a request": (
        'Pod "churn-1-x" is invalid: spec.initContainers[0].resources.requests: Invalid value: "128Mi": must be less '
        "than or equal to memory limit of 100Mi",
        f"{FETCH} or change",
    ),
    "limit range names no container": (
        'pods "churn-1-x" is forbidden: minimum memory usage per Container is 256Mi, but request is 128Mi',
        "set spec.resources, and the resources of other containers in spec.podTemplate, or change",
    ),
    "pod security": (
        'pods "churn-1-x" is forbidden: violates PodSecurity "restricted:latest": privileged (container "side" must '
        "not set securityContext.privileged=true)",
        "change container side in spec.podTemplate.spec.containers or the namespace's policy",
    ),
    "a container that is not in the template": (
        'pods "churn-1-x" is forbidden: failed quota: c: must specify limits.cpu for: injected',
        "set spec.resources, and the resources of other containers in spec.podTemplate, or change",
    ),
    "anything else": ('admission webhook "w" denied the request: no', "change spec.podTemplate or the namespace's"),
}


def deployment(message: str, current: int = 0) -> dict[str, Any]:
    pod = {"initContainers": [{"name": "fetch"}], "containers": [{"name": "model"}, {"name": "side"}]}
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    return {
        "metadata": {"name": "churn-1", "namespace": "ns"},
        "spec": {"replicas": 1, "template": {"spec": pod}},
        "status": {"replicas": current, "conditions": [failure]},
    }


@pytest.mark.parametrize(("message", "remedy"), CASES.values(), ids=CASES)
def test_names_the_field_of_the_refused_container(message: str, remedy: str) -> None:
    problem = pod_refusal(parse.deployment(deployment(message)))
    assert problem is not None and problem.reason == "PodRefused" and not problem.waits_for_user
    assert message in problem.message and f"To fix it, {remedy}" in problem.message


def test_enough_pods_are_no_problem() -> None:
    assert pod_refusal(parse.deployment(deployment("no", current=1))) is None


@pytest.mark.parametrize(
    ("case", "setting"),
    [
        ("quota needs limits", "For all models, set pods.fetch.resources in the operator's settings."),
        ("pod security", "For all models, the operator's setting `pods` can do this."),
    ],
)
def test_names_the_setting_that_cures_it_for_all_models(case: str, setting: str) -> None:
    problem = pod_refusal(parse.deployment(deployment(CASES[case][0])))
    assert problem is not None and problem.message.endswith(setting)
