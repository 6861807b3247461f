"""The figures of bench_rollouts.py, computed from known writes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from sluicegate.adapters.pods.exposition import parse
from sluicegate.core.analysis.counters import LATENCY, REQUESTS

from bench import bench_rollouts
from bench.controlplane import audit, gate, passes, rollouts
from bench.controlplane.pace import NEW_OUTCOME, STATUS, Pace, on_time

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def request(seconds: float, resource: str, name: str = "model-0001", body: bytes = b"") -> audit.Request:
    at = START + timedelta(seconds=seconds)
    return audit.Request("operator", "patch", resource, "bench", 200, at, at, False, name, body)


def wrote(pace: Pace, seconds: float, phase: str, step: int | None = None, **more: Any) -> None:
    rollout = {"phase": phase, **({"stepIndex": step} if step is not None else {}), **more}
    pace.heard(request(seconds, audit.STATUS, body=msgspec.json.encode({"status": {"rollout": rollout}})))


def lived() -> Pace:
    """Return the record of a rollout of two steps of 60s, the second one late."""
    pace = Pace(2)
    wrote(pace, -50, "Idle")
    pace.start("model-0001", START)
    pace.heard(request(1, "deployments", "model-0001-bcdfghjklm"))
    wrote(pace, 2, "Waiting")
    wrote(pace, 4, "Scaling", 0)
    pace.heard(request(5, "httproutes"))
    wrote(pace, 6, "Holding", 0, acceptedAt="x")
    wrote(pace, 7, "Holding", 0, acceptedAt="x")
    wrote(pace, 30, "Holding", 0, acceptedAt="x", analysis={"outcome": "Passed"})
    wrote(pace, 66, "Scaling", 1)
    pace.heard(request(67, audit.LEASES, "lease"))
    wrote(pace, 70, "Holding", 1, acceptedAt="y")
    pace.heard(request(100, "httproutes"))
    wrote(pace, 140, "Promoting", 2)
    wrote(pace, 150, "Shifting")
    wrote(pace, 180, "Idle")
    return pace


def test_a_hold_is_from_the_weight_in_force_to_the_next_step() -> None:
    pace = lived()
    assert pace.holds() == [60.0, 70.0]
    assert pace.wholes() == [62.0, 74.0]
    assert on_time(pace.holds(), 60.0) == 0.5
    assert (pace.over(), pace.minutes(), pace.at_once()) == (1, 3.0, 1)


def test_a_hold_that_begins_anew_counts_from_there() -> None:
    pace = Pace(1)
    pace.start("model-0001", START)
    wrote(pace, 0, "Holding", 0, acceptedAt="x")
    wrote(pace, 10, "Scaling", 0)
    wrote(pace, 20, "Holding", 0, acceptedAt="y")
    wrote(pace, 80, "Promoting", 1)
    assert pace.holds() == [60.0]


def test_writes_by_kind_and_those_within_holds() -> None:
    pace = lived()
    assert pace.writes() == {"Deployment": 1, "HTTPRoute": 2, STATUS: 9, NEW_OUTCOME: 1}
    assert pace.writes_in_holds(settling=True) == {STATUS: 1}
    assert pace.writes_in_holds(settling=False) == {NEW_OUTCOME: 1, "HTTPRoute": 1}


def test_an_event_is_about_its_resource() -> None:
    pace = lived()
    pace.heard(request(35, audit.EVENTS, "model-0001.0123456789abcdef"))
    assert pace.writes_in_holds(settling=False)[audit.EVENTS] == 1


def test_a_status_that_the_log_keeps_is_read_with_its_time(tmp_path: Path) -> None:
    written = {
        "kind": "ModelDeployment",
        "status": {"rollout": {"phase": "Holding", "stepIndex": 0, "acceptedAt": "x"}},
    }
    line = {
        "stage": "ResponseComplete",
        "requestURI": "/apis/sluicegate.dev/v1alpha1/namespaces/bench/modeldeployments/model-0001/status?force=true",
        "verb": "patch",
        "user": {"username": "operator"},
        "objectRef": {
            "resource": "modeldeployments",
            "subresource": "status",
            "namespace": "bench",
            "name": "model-0001",
        },
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": "2026-03-01T12:00:00.250000Z",
        "stageTimestamp": "2026-03-01T12:00:00.500000Z",
    }
    log = tmp_path / "audit.log"
    log.write_bytes(msgspec.json.encode(line) + b"\n" + msgspec.json.encode({**line, "requestObject": written}) + b"\n")
    bare, whole = audit.Log(log).new()
    assert (bare.body, bare.name, whole.resource) == (b"", "model-0001", audit.STATUS)
    pace = Pace(1)
    pace.start("model-0001", START)
    pace.heard(bare)
    pace.heard(whole)
    (stay,) = pace.lives["model-0001"].stays
    assert stay.accepted == START + timedelta(seconds=0.5)


def test_the_pods_stand_in_speaks_as_the_scoring_server_does() -> None:
    counts = parse(gate.exposition(40), [LATENCY]).counts
    assert counts[REQUESTS, ""] == 40
    assert counts[LATENCY, "0.01"] == 0
    assert counts[LATENCY, "inf"] == 40


def test_the_table_and_the_json_say_what_was_found() -> None:
    plan = rollouts.Plan(1, "bench", hold=60.0, spread=1.0, judged=False)
    result = rollouts.Result(plan, lived(), passes.Phase("rollouts", 180.0, 0.9, 100.0, audit.Tally()), (1.0, 2.0))
    shown = bench_rollouts.table([result])
    for line in (
        r"rollouts \(at once, at most\) +1 \(1\)",
        r"steps held within 10% of their time \(target: all\) +50.0%",
        r"writes a rollout-minute: HTTPRoute +0.67",
        r"writes while holding \(target: 0, but a new outcome\) +1 HTTPRoute, 1 status \(new outcome\)",
        r"operator: CPU, of one core +0.5%",
    ):
        assert re.search(line, shown), line
    run = bench_rollouts.as_json([result])["runs"][0]
    assert (run["held"]["max"], run["writesHolding"]) == (70.0, {NEW_OUTCOME: 1, "HTTPRoute": 1})
