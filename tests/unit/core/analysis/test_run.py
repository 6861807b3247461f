"""Which revisions the analysis covers, and where their pods are."""

from typing import Any

import msgspec
import pytest
from sluicegate.api.resource import ModelDeployment, decode
from sluicegate.core.analysis.run import analysis_run, filled
from sluicegate.core.snapshot import parse

HOLDING = {"phase": "Holding", "candidate": "new", "acceptedAt": "2026-03-01T12:00:00Z"}


def resource(rollout: dict[str, Any] | None, analysis: dict[str, Any] | None) -> ModelDeployment:
    revision = {"weight": 5, "replicas": 1, "readyReplicas": 1}
    raw: dict[str, Any] = {
        "metadata": {"name": "churn", "namespace": "shop", "uid": "u", "resourceVersion": "1"},
        "spec": {"model": {"uri": "models:/churn/2"}, "rollout": {"analysis": analysis} if analysis else {}},
        "status": {
            "revisions": [
                {"name": "a", "revision": "new", "role": "Candidate", **revision},
                {"name": "b", "revision": "old", "role": "Stable", **revision},
            ]
        },
    }
    if rollout:
        raw["status"]["rollout"] = rollout
    return decode(raw)


def test_analyzes_a_step_that_the_gateway_applies() -> None:
    found = analysis_run(resource(HOLDING, {"window": "5m", "interval": "1ms", "warmUp": "0s"}))
    assert found is not None
    assert (found.key, found.candidate, found.stable, found.since) == (
        ("shop", "churn"),
        "new",
        "old",
        "2026-03-01T12:00:00Z",
    )
    assert (found.interval, found.window, found.warm_up, found.timeout) == (1, 300, 0, 5)


@pytest.mark.parametrize("phase", ["RolledBack", "Failed", "Idle"])
def test_what_is_over_is_not(phase: str) -> None:
    assert analysis_run(resource({**HOLDING, "phase": phase}, {"window": "1m"})) is None


def test_nor_is_what_has_no_analysis_no_accepted_step_or_nothing_to_take_over() -> None:
    assert analysis_run(resource(HOLDING, None)) is None
    assert analysis_run(resource(None, {"window": "1m"})) is None
    assert analysis_run(resource({"phase": "Shifting", "candidate": "new"}, {"window": "1m"})) is None
    assert analysis_run(resource({**HOLDING, "candidate": "old"}, {"window": "1m"})) is None


@pytest.mark.parametrize(
    ("steps", "index", "names"),
    [
        ([{"mirror": {}}, {"weight": 5}], 0, ["errors", "same"]),
        ([{"mirror": {}}, {"weight": 5}], 1, ["errors", "same"]),
        ([{"mirror": {}}, {"weight": 5, "mirror": {"percent": 0}}], 1, ["errors"]),
        ([{"weight": 5}, {"mirror": {}}], 0, ["errors"]),
    ],
)
def test_answers_are_compared_only_while_requests_are_copied(
    steps: list[dict[str, Any]], index: int, names: list[str]
) -> None:
    metrics = [
        {"name": "errors", "type": "ErrorRate", "limit": 0.1},
        {"name": "same", "type": "Disagreement", "limit": 0.1, "tolerance": 2},
    ]
    given = resource({**HOLDING, "stepIndex": index}, {"metrics": metrics})
    raw = msgspec.to_builtins(given)
    raw["spec"]["rollout"]["steps"] = steps
    found = analysis_run(decode(raw))
    assert found is not None
    assert [metric.name for metric in found.spec.metrics] == names
    assert (found.paired, found.tolerances) == ("same" in names, {0.0, 2.0} if "same" in names else {0.0})


def test_placeholders() -> None:
    found = analysis_run(resource(HOLDING, {"window": "1m"}))
    assert found is not None
    query = filled('x{a="{{namespace}}",b="{{ name }}",c="{{revision}}"}[{{window}}] + {{other}}', found, "old", 59.9)
    assert query == 'x{a="shop",b="churn",c="old"}[59s] + {{other}}'
    assert filled("{{window}}", found, "old", 0.2) == "1s"


def pod(address: str | None, **more: Any) -> dict[str, Any]:
    container = {
        "name": "model",
        "ports": [{"name": "grpc", "containerPort": 9000}, {"name": "http", "containerPort": 8080}],
    }
    return {
        "metadata": {"name": "p", "uid": "u-1", "labels": {}},
        "spec": {"containers": [container]},
        "status": {"podIP": address} if address else {},
        **more,
    }


def test_where_a_pod_is_and_that_it_is_no_news() -> None:
    assert parse.pod(pod("10.0.0.7")).address == "10.0.0.7:8080"
    assert parse.pod(pod("fd00::7")).address == "[fd00::7]:8080"
    assert parse.pod(pod(None)).address == ""
    assert parse.pod(pod("10.0.0.7", spec={})).address == ""
    assert parse.pod(pod("10.0.0.7")).uid == "u-1"
    assert parse.pod(pod("10.0.0.7")) == parse.pod(pod(None)), "a new address must not wake a resource"
