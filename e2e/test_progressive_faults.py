"""Rollouts in steps under steady load, with failures and commands.

The candidate's pods or the operator fail. Users promote, abort and retry by command.
"""

import time

import pytest

from e2e.support import rollouts
from e2e.support.kube import wait_until
from e2e.support.rollouts import FIRST, GOOD, LEAKS, UNLOADABLE, uri
from e2e.support.watch import Watch

pytestmark = [pytest.mark.timeout(600, func_only=True), pytest.mark.usefixtures("odd_versions")]
ERRORS = {"name": "errors", "type": "ErrorRate", "limit": 0.05, "minSamples": 60}
NOBODY_THERE = r"50[0234] b'(Bad Gateway|no available server|Gateway Timeout|Internal Server Error)"
"""A gateway's response when a pod dies during a request.

Later requests get it too, until the gateway knows that the pod is gone.
"""


def spec(*steps, **fields):
    return {"steps": list(steps), "analysis": rollouts.analysis(ERRORS), "scaleDownDelay": "3s", **fields}


def test_a_version_that_never_becomes_ready_gets_nothing_and_is_given_up(workspace, load, kube):
    rollout = spec({"weight": 50, "hold": "5s"}, progressDeadline="25s")
    workspace.apply("shop", model=uri(FIRST), rollout=rollout)
    workspace.wait_ready("shop")
    first = workspace.stable("shop")

    def roles():
        return {revision["version"]: revision["role"] for revision in workspace.status("shop")["revisions"]}

    with Watch(kube, "mdep", workspace.namespace) as seen, load("shop") as steady:
        workspace.apply("shop", model=uri(UNLOADABLE), rollout=rollout)
        wait_until("it to be given up", lambda: roles() == {"1": "Stable", str(UNLOADABLE): "Failed"}, 200)
        workspace.wait_only("shop", first)
        ready = workspace.condition("shop", "Ready")
        print(ready["message"], flush=True)
    steady.check(FIRST)
    assert (ready["status"], ready["reason"]) == ("False", "ModelLoadFailed")
    assert "a_package_that_is_not_in_the_image" in ready["message"]
    states = [each.obj["status"].get("rollout") or {} for each in seen.of("shop")]
    assert [state for state in states if state.get("weight") or state.get("stepIndex") is not None] == []
    rollouts.check_served(seen)


def test_crash_after_the_takeover_returns_the_traffic(workspace, load):
    """Check that a version without steps that runs out of memory under traffic is rolled back."""
    rollout = {"scaleDownDelay": "60s"}
    memory = {"limits": {"memory": "1Gi"}, "requests": {"memory": "300Mi", "cpu": "50m"}}
    workspace.apply("shop", model=uri(FIRST), rollout=rollout, resources=memory)
    workspace.wait_ready("shop")
    first = workspace.stable("shop")
    with load("shop", own=".") as steady:  # its only pod is killed, so requests fail until the route is back
        wait_until("some answers", lambda: steady.settled_on(FIRST))
        workspace.apply("shop", model=uri(LEAKS), rollout=rollout, resources=memory)
        rollouts.wait_back(workspace)
        ready = workspace.wait_condition("shop", "Ready", "False", "RolledBack")
        bad = rollouts.check_left_alone(workspace, steady, first, FIRST)
    steady.check()
    died = [at for at, _ in steady.errors]
    lasted = max(died, default=0) - min(died, default=0)
    print(f"{bad} requests died with its pod, over {lasted:.1f} s", flush=True)
    assert lasted < 2 * rollouts.LAG
    assert "Rolled back after it became stable" in ready["message"]
    assert "used more memory than its limit of 1Gi and was killed" in ready["message"]
    assert workspace.condition("shop", "Available")["status"] == "True"


def test_a_version_that_runs_out_of_memory_under_traffic_is_taken_back(workspace, load, kube):
    rollout = spec({"weight": 20, "hold": "10m"})
    memory = {"limits": {"memory": "1Gi"}, "requests": {"memory": "300Mi", "cpu": "50m"}}
    workspace.apply("shop", model=uri(FIRST), rollout=rollout, resources=memory)
    workspace.wait_ready("shop")
    first = workspace.stable("shop")
    with Watch(kube, "mdep", workspace.namespace) as seen, load("shop", own=NOBODY_THERE) as steady:
        wait_until("some answers", lambda: steady.settled_on(FIRST))
        workspace.apply("shop", model=uri(LEAKS), rollout=rollout, resources=memory)
        taken = rollouts.wait_back(workspace)
        ready = workspace.wait_condition("shop", "Ready", "False", "RolledBack")
        print(ready["message"], flush=True)
        bad = rollouts.check_left_alone(workspace, steady, first, FIRST)
    steady.check()
    died = [at for at, _ in steady.errors]
    print(f"{bad} requests died with its pod, over {max(died, default=0) - min(died, default=0):.1f} s", flush=True)
    assert "used more memory than its limit of 1Gi and was killed" in ready["message"]
    assert "at step 1 of 1 (20% of the requests)" in ready["message"]
    assert taken["reason"] == "RolledBack"
    assert workspace.stable("shop") == first
    assert {lane.name.split("/")[0] for lane in steady.lanes if LEAKS in lane.versions} == {"gateway"}
    assert [lane.name for lane in steady.lanes if lane.errors and not lane.name.startswith("gateway/")] == []
    rollouts.check_served(seen)


def test_an_operator_killed_while_holding_and_while_shifting_goes_on_at_the_same_step(workspace, load, kube, operator):
    rollout = spec({"weight": 10, "hold": "20s"}, {"weight": 60, "hold": "10s"})
    workspace.apply("shop", model=uri(FIRST), rollout=rollout, scaling={"replicas": 2})
    workspace.wait_ready("shop", timeout=180)
    with Watch(kube, "mdep", workspace.namespace) as seen, load("shop", rate=20) as steady:
        pod = operator.wait_leading()
        workspace.apply("shop", model=uri(GOOD), rollout=rollout, scaling={"replicas": 2})
        before = rollouts.wait_at(workspace, 0, "Holding")
        operator.kill(pod)
        pod = operator.wait_leading(timeout=150, other_than=operator.container(pod))
        began = wait_until("the second step to begin", lambda: _at_second(workspace), 150, every=0.05)
        operator.kill(pod)
        print(f"killed again while {began['phase']}, accepted: {began.get('acceptedAt')}", flush=True)
        candidate = before["candidate"]
        wait_until("the new version to be stable", lambda: workspace.stable("shop") == candidate, 250)
        workspace.wait_ready("shop")
        wait_until("every client to be answered by it", lambda: steady.settled_on(GOOD), 60)
    steady.check()
    states = rollouts.history(seen, candidate)
    rollouts.check_steps(states, (20, 10))
    at_first = {state["acceptedAt"] for state in states if state.get("stepIndex") == 0 and "acceptedAt" in state}
    assert at_first == {before["acceptedAt"]}, "the hold went on where it was"
    at_second = {state["stepStartedAt"] for state in states if state.get("stepIndex") == 1}
    assert at_second == {began["stepStartedAt"]}, "the step was begun once"
    for span, weight in zip(rollouts.spans(states), (10, 60), strict=True):
        rollouts.check_load_share(steady, span, GOOD, weight)
    rollouts.check_served(seen)


def _at_second(space):
    state = rollouts.state(space)
    return state if state.get("stepIndex") == 1 else None


def test_people_promote_abort_and_retry_by_command(workspace, load, sluicegate):
    rollout = spec({"weight": 10, "pause": {}}, {"weight": 50, "pause": {}})
    workspace.apply("shop", model=uri(FIRST), rollout=rollout)
    workspace.wait_ready("shop")
    first, url = workspace.stable("shop"), workspace.urls("shop")["gateway"]
    with load("shop", rate=10) as steady:
        workspace.apply("shop", model=uri(GOOD), rollout=rollout)
        candidate = rollouts.wait_at(workspace, 0, "Paused")["candidate"]
        rollouts.check_share(url, GOOD, 10)
        _, told = sluicegate("get", "shop")
        assert "sluicegate promote shop" in told
        code, told = sluicegate("promote", "shop")
        print(told, flush=True)
        assert code == 0
        rollouts.wait_at(workspace, 1, "Paused")
        rollouts.check_share(url, GOOD, 50)
        code, told = sluicegate("abort", "shop")
        print(told, flush=True)
        assert code == 0
        workspace.wait_condition("shop", "Ready", "False", "Aborted")
        workspace.wait_only("shop", first)
        wait_until("every client to be answered by the first", lambda: steady.settled_on(FIRST), 60)
        time.sleep(3)
        assert workspace.stable("shop") == first, "an aborted one stays away"
        code, told = sluicegate("retry", "shop")
        print(told, flush=True)
        assert code == 0
        assert rollouts.wait_at(workspace, 0, "Paused")["candidate"] == candidate
        assert workspace.stable("shop") == first
        code, told = sluicegate("promote", "shop", "--full")
        print(told, flush=True)
        assert code == 0
        wait_until("the new version to be stable", lambda: workspace.stable("shop") == candidate, 150)
        workspace.wait_ready("shop")
        wait_until("every client to be answered by it", lambda: steady.settled_on(GOOD), 60)
    steady.check()
