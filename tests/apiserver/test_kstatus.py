"""The state that Flux and Helm read from a ModelDeployment.

The tests run the real kstatus on the statuses that the operator composes. The rules are those of
pkg/kstatus/status/generic.go in sigs.k8s.io/cli-utils. github.com/fluxcd/cli-utils continues that code, and Flux and
Helm 4 are built with it. kstatus evaluates deletion first, then observedGeneration, then the conditions Reconciling,
Stalled and Ready.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.gitops_cases import CASES, stored, walk

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def program() -> str:
    """Return the path of kstatus as a program, which is built once."""
    sys.path.insert(0, str(REPOSITORY))  # tools is not an installed package.
    from tools.localcluster import tools

    tools.ensure([tools.kstatus])
    return tools.kstatus.bin()


def judged(program: str, objects: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the result of kstatus for each object."""
    lines = "\n".join(json.dumps(object_) for object_ in objects)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_state_is_current_in_progress_or_failed_as_it_should_be(program: str) -> None:
    objects = [stored(case.made()) for case in CASES.values()]
    found = {name: each["status"] for name, each in zip(CASES, judged(program, objects), strict=True)}
    assert found == {name: case.kstatus for name, case in CASES.items()}


def test_failed_tells_why(program: str) -> None:
    [found] = judged(program, [stored(CASES["unknown version"].made())])
    assert found["message"].startswith("Registered model churn has no version 9")


def test_current_means_ready_all_along_a_life(program: str) -> None:
    objects = walk()
    found = judged(program, objects)
    assert {each["status"] for each in found} == {"Current", "InProgress"}
    for obj, each in zip(objects, found, strict=True):
        conditions = {condition["type"]: condition["status"] for condition in obj["status"].get("conditions", ())}
        current = obj["status"].get("observedGeneration") == obj["metadata"]["generation"]
        assert (each["status"] == "Current") == (current and conditions.get("Ready") == "True"), obj["status"]


def test_the_default_of_status_is_what_keeps_a_new_object_from_looking_done(program: str) -> None:
    new = stored(CASES["never looked at"].made())
    without = {key: value for key, value in new.items() if key != "status"}
    assert [each["status"] for each in judged(program, [new, without])] == ["InProgress", "Current"]


def test_deleted_objects_are_terminating(program: str) -> None:
    obj = stored(CASES["serves"].made())
    obj["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    assert judged(program, [obj])[0]["status"] == "Terminating"
