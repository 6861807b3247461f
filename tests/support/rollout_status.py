"""A ModelDeployment in the middle of a rollout, with a hand-written status.

It serves tests of what the CLI shows and prints.
"""

import copy
from typing import Any

from sluicegate.api.resource import decode
from sluicegate.cli.steering.revisions import History, build_history

STABLE, NEXT, OLD = "bcdfghjklm", "nqrstvwxz2", "zzzzzzzzzz"
STEPS: list[dict[str, Any]] = [
    {"weight": 5, "hold": "5m"},
    {"weight": 25, "hold": "10m"},
    {"pause": {}},
    {"weight": 50, "hold": "10m", "mirror": {"percent": 10}},
]
METRICS: list[dict[str, Any]] = [
    {"name": "errors", "type": "ErrorRate", "limit": 0.01},
    {"name": "latency", "type": "LatencyP95", "ratio": 1.2},
    {"name": "drift", "type": "Drift", "limit": 0.2, "dryRun": True},
]
HOLDING: dict[str, Any] = {
    "phase": "Holding",
    "candidate": NEXT,
    "startedAt": "2026-03-01T12:10:00Z",
    "stepIndex": 1,
    "stepHash": "abc",
    "stepStartedAt": "2026-03-01T12:24:00Z",
    "weight": 25,
    "acceptedAt": "2026-03-01T12:24:10Z",
    "until": "2026-03-01T12:34:10Z",
    "reason": "Holding",
    "message": "25% of the requests until 2026-03-01T12:34:10Z.",
    "analysis": {
        "outcome": "Passed",
        "metric": "errors",
        "value": 0.002,
        "stableValue": 0.001,
        "limit": 0.01,
        "samples": 420,
        "message": "0.2% of 420 requests failed. The limit is 1%.",
        "at": "2026-03-01T12:29:20Z",
    },
}
PAUSED: dict[str, Any] = {
    **{key: value for key, value in HOLDING.items() if key != "until"},
    "phase": "Paused",
    "stepIndex": 2,
    "reason": "RolloutPaused",
    "message": "Step 3 waits for approval.",
}
ROLLED_BACK: dict[str, Any] = {
    **{key: value for key, value in HOLDING.items() if key != "until"},
    "phase": "RolledBack",
    "reason": "RolledBack",
    "message": "Rolled back at step 2 of 4 (25% of the requests): errors: 9% of 300 requests failed. The limit is 1%.",
    "analysis": {
        "outcome": "Failed",
        "metric": "errors",
        "value": 0.09,
        "stableValue": 0.001,
        "limit": 0.01,
        "samples": 300,
        "message": "9% of 300 requests failed. The limit is 1%.",
        "at": "2026-03-01T12:29:20Z",
    },
}


def revision(hash_: str, role: str, version: int, **more: Any) -> dict[str, Any]:
    return {
        "name": f"churn-{hash_}",
        "revision": hash_,
        "role": role,
        "number": version,
        "model": f"churn/{version}",
        "version": str(version),
        "weight": 0,
        "replicas": 2,
        "readyReplicas": 2,
        **more,
    }


def raw(rollout: dict[str, Any] | None = None, role: str = "Candidate", **more: Any) -> dict[str, Any]:
    """Return the object.

    `more` takes `annotations`, `no_steps` (the spec has no steps), and fields of the spec.
    """
    annotations = more.pop("annotations", {})
    rollout_spec = {} if more.pop("no_steps", False) else {"steps": STEPS, "analysis": {"metrics": METRICS}}
    back = role == "Failed"
    conditions = [
        {"type": "Ready", "status": "False", "reason": "Holding", "message": "Step 2 of 4.", "observedGeneration": 2}
    ]
    return copy.deepcopy(
        {
            "metadata": {
                "name": "churn",
                "namespace": "shop",
                "generation": 2,
                "creationTimestamp": "2026-03-01T09:00:00Z",
                "annotations": annotations,
            },
            "spec": {
                "model": {"uri": "models:/churn@champion"},
                "rollout": rollout_spec,
                **more,
            },
            "status": {
                "observedGeneration": 2,
                "url": "http://models.example.com/shop/churn",
                "address": "http://churn.shop.svc",
                "model": {"uri": "models:/churn@champion", "name": "churn", "version": "8"},
                "conditions": conditions,
                "revisions": [
                    revision(NEXT, role, 8, weight=0 if back else 25, acceptedWeight=None if back else 25),
                    revision(STABLE, "Stable", 7, weight=100 if back else 75, acceptedWeight=100 if back else 75),
                ],
                "rollout": rollout or HOLDING,
            },
        }
    )


def history_in(rollout: dict[str, Any] | None = None, role: str = "Candidate", **more: Any) -> History:
    """Return the same object in the form that commands read."""
    return build_history(decode(raw(rollout, role, **more)), None)
