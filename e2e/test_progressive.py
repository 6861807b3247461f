"""New versions take the traffic in steps, under steady load.

A good version is promoted. A bad version is rolled back because of what the analysis measured.
"""

import pytest

from e2e.support import rollouts
from e2e.support.kube import wait_until
from e2e.support.load import Load
from e2e.support.rollouts import FIRST, GOOD, MODEL, MODEL_ERROR, RAISES, SECONDS, SLOW, uri
from e2e.support.watch import Watch

pytestmark = [pytest.mark.timeout(600, func_only=True), pytest.mark.usefixtures("odd_versions")]
ERRORS = {"name": "errors", "type": "ErrorRate", "limit": 0.05, "minSamples": 40}
LATENCY = {"name": "slow", "type": "LatencyP95", "limit": 10, "minSamples": 40}


def spec(*metrics, hold="15s", weights=(10, 50)):
    steps = [{"weight": weight, "hold": hold} for weight in weights]
    return {"steps": steps, "analysis": rollouts.analysis(*metrics), "scaleDownDelay": "3s"}


def test_a_good_version_that_an_alias_brings_goes_through_all_steps_and_keeps_its_pods(workspace, registry, load, kube):
    alias = workspace.namespace
    registry.set_alias(alias, FIRST, MODEL)
    workspace.apply("shop", model=f"models:/{MODEL}@{alias}", rollout=spec(ERRORS, LATENCY))
    workspace.wait_ready("shop")
    first = workspace.stable("shop")
    with Watch(kube, "mdep", workspace.namespace) as seen, load("shop") as steady:
        wait_until("some answers", lambda: steady.settled_on(FIRST))
        registry.set_alias(alias, GOOD, MODEL)
        candidate = rollouts.wait_at(workspace, 0, "Holding")["candidate"]
        pods = {pod["metadata"]["uid"] for pod in workspace.pods("shop", candidate)}
        rollouts.wait_at(workspace, 1, "Holding")
        assert workspace.stable("shop") == first, "it is stable once all steps are behind"
        wait_until("the new version to be stable", lambda: workspace.stable("shop") == candidate, 200)
        workspace.wait_ready("shop")
        wait_until("every client to be answered by it", lambda: steady.settled_on(GOOD), 60)
        workspace.wait_only("shop", candidate)
    steady.check()
    assert {pod["metadata"]["uid"] for pod in workspace.pods("shop", candidate)} >= pods, "the same pods"
    states = rollouts.history(seen, candidate)
    rollouts.check_steps(states, (15, 15))
    for span, weight in zip(rollouts.spans(states), (10, 50), strict=True):
        rollouts.check_load_share(steady, span, GOOD, weight)
    rollouts.check_served(seen)
    registry.delete_alias(alias, MODEL)


BAD = {
    "slow": (SLOW, {"name": "slow", "type": "LatencyP95", "limit": 1, "ratio": 2, "minSamples": 10}, ["p95 is "]),
    "errors": (
        RAISES,
        {"name": "errors", "type": "ErrorRate", "errorClasses": ["model"], "limit": 0.05, "minSamples": 20},
        ["requests failed", "model "],
    ),
    "drift": (GOOD, {"name": "drift", "type": "Drift", "limit": 0.25, "minSamples": 40}, ["PSI of prediction"]),
}
VALUES = {"slow": (SECONDS, 10), "errors": (1, 1), "drift": (0.25, 100)}
"""The range of the measured value."""


@pytest.mark.parametrize("case", BAD)
def test_a_bad_version_is_taken_back_with_the_measurement_that_decided(workspace, load, kube, case):
    version, metric, words = BAD[case]
    rollout = spec(metric, hold="10m", weights=(50, 80))
    workspace.apply("shop", model=uri(FIRST), rollout=rollout)
    workspace.wait_ready("shop")
    first = workspace.stable("shop")
    with Watch(kube, "mdep", workspace.namespace) as seen, load("shop", own=MODEL_ERROR) as steady:
        wait_until("some answers", lambda: steady.settled_on(FIRST))
        workspace.apply("shop", model=uri(version), rollout=rollout)
        taken = rollouts.wait_back(workspace)
        ready = workspace.wait_condition("shop", "Ready", "False", "RolledBack")
        print(ready["message"], flush=True)
        bad = rollouts.check_left_alone(workspace, steady, first, FIRST)
    steady.check()
    analysis = taken["analysis"]
    assert (analysis["metric"], analysis["outcome"]) == (metric["name"], "Failed")
    assert VALUES[case][0] * 0.5 <= analysis["value"] <= VALUES[case][1]
    assert analysis["limit"] < analysis["value"]
    assert "at step 1 of 2 (50% of the requests)" in ready["message"]
    assert f"{metric['name']}: {analysis['message']}" in ready["message"]
    assert [word for word in words if word not in analysis["message"]] == []
    assert (bad > 0) == (case == "errors")
    assert workspace.stable("shop") == first
    assert {lane.name.split("/")[0] for lane in steady.lanes if set(lane.versions) - {FIRST} or lane.errors} == {
        "gateway"
    }
    rollouts.check_served(seen)


def test_a_version_that_gets_no_traffic_is_held_and_says_so_until_it_gets_some(workspace, kube):
    """Hold a candidate that gets no requests.

    With a gateway, in-cluster callers of the Service stay with stable. So without clients of the gateway, the analysis
    has no requests to judge the candidate by.
    """
    rollout = spec(ERRORS, hold="5s", weights=(10,))
    workspace.apply("shop", model=uri(FIRST), rollout=rollout)
    workspace.wait_ready("shop")
    first, urls = workspace.stable("shop"), workspace.urls("shop")
    with Watch(kube, "mdep", workspace.namespace) as seen, Load({"service": urls["service"]}) as steady:
        workspace.apply("shop", model=uri(GOOD), rollout=rollout)
        held = wait_until(
            "the hold to be over, and the rollout to be held",
            lambda: (
                (state := rollouts.state(workspace)).get("reason") == "Inconclusive" and state.get("analysis") and state
            ),
            150,
        )
        assert (held["phase"], held["stepIndex"]) == ("Holding", 0)
        assert held["analysis"]["outcome"] == "Inconclusive"
        ready = workspace.condition("shop", "Ready")
        print(ready["message"], flush=True)
        assert (ready["status"], ready["reason"]) == ("False", "RollingOut")
        assert "The analysis has not passed yet, so the step is held." in ready["message"]
        assert "The candidate has fewer than the 40 requests that minSamples requires." in ready["message"]
        passed = steady.total
        wait_until("two hundred more answers", lambda: steady.total > passed + 200)
        now = rollouts.state(workspace)
        assert (now["phase"], now["stepIndex"], now["acceptedAt"]) == ("Holding", 0, held["acceptedAt"])
        assert workspace.stable("shop") == first
        with Load({"gateway": urls["gateway"]}) as outside:
            candidate = held["candidate"]
            wait_until("the new version to get through", lambda: workspace.stable("shop") == candidate, 200)
            workspace.wait_ready("shop")
        outside.check()
        wait_until("every client to be answered by it", lambda: steady.settled_on(GOOD), 60)
    steady.check(FIRST, GOOD)
    rollouts.check_steps(rollouts.history(seen, candidate), (5,))
    rollouts.check_served(seen)
