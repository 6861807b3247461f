"""A candidate gets copies of requests, and the analysis compares its predictions.

It judges by how much they differ from those of stable.
Envoy gives each request an id before it copies the request.
"""

import pytest

from e2e.support.kube import wait_until

pytestmark = pytest.mark.parametrize("gateway", ["envoy-gateway"], indirect=True)


def rollout(limit: float, hold: str) -> dict[str, object]:
    """Return a rollout with a step that mirrors and a step that shares the traffic.

    The analysis measures every two seconds.
    """
    metrics = [
        {"name": "far", "type": "LargestDifference", "limit": limit, "minSamples": 40},
        {"name": "same", "type": "Disagreement", "limit": 0.01, "tolerance": limit, "minSamples": 40},
    ]
    return {
        "steps": [{"weight": 0, "mirror": {"percent": 100}, "hold": hold}, {"weight": 50, "mirror": {"percent": 0}}],
        "analysis": {"interval": "2s", "warmUp": "1s", "failureLimit": 2, "metrics": metrics},
        "scaleDownDelay": "3s",
    }


def test_a_version_that_answers_too_differently_is_taken_back_before_any_client_sees_it(gateway, workspace, load):
    """Use version 2 of the example model, which adds 100 to every score."""
    traffic = gateway.traffic()
    workspace.apply("shop", model=1, traffic=traffic, rollout=rollout(50, "10m"))
    workspace.wait_ready("shop")
    stable = workspace.stable("shop")
    with load("shop") as steady:
        wait_until("some answers", lambda: steady.total > 50)
        workspace.apply("shop", model=2, traffic=traffic, rollout=rollout(50, "10m"))
        wait_until(
            "the new version to be rolled back",
            lambda: workspace.status("shop").get("rollout", {}).get("phase") == "RolledBack",
            180,
        )
        analysis = workspace.status("shop")["rollout"]["analysis"]
        print(analysis)
        assert (analysis["metric"], analysis["outcome"], analysis["limit"]) == ("far", "Failed", 50)
        assert analysis["value"] == pytest.approx(100, abs=0.5)
        assert analysis["samples"] >= 40
        assert workspace.stable("shop") == stable
    steady.check(1)


def test_a_version_that_answers_alike_goes_on(gateway, workspace, load):
    traffic = gateway.traffic()
    workspace.apply("shop", model=1, traffic=traffic, rollout=rollout(150, "5s"))
    workspace.wait_ready("shop")
    stable = workspace.stable("shop")
    with load("shop") as steady:
        wait_until("some answers", lambda: steady.total > 50)
        workspace.apply("shop", model=2, traffic=traffic, rollout=rollout(150, "5s"))
        wait_until("the new version to serve", lambda: workspace.stable("shop") not in ("", stable), 180)
        wait_until("every client to be answered by it", lambda: steady.settled_on(2), 60)
    steady.check(1, 2)
