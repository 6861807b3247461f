"""`sluicegate diff`: the result of a change, and its message."""

import copy
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sluicegate.api import names
from sluicegate.cli.commands.diff import files
from sluicegate.cli.output import diff_text
from sluicegate.cli.validation.documents import Unreadable
from sluicegate.cli.validation.dry_run import applier_of, three_way
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.runtime.reconcile.gather import Gathered
from sluicegate.simulation.settle import settled

from tests.support.fake_cluster import NAME, World


def _templates(snapshot: Snapshot) -> dict[str, Any]:
    targets = [
        each for each in (snapshot.desired, snapshot.desired_canary) if each is not None and each.intent is not None
    ]
    hashes = {*snapshot.revisions, *(target.intent.hash for target in targets if target.intent is not None)}
    container = {"name": "model", "image": "scorer:1"}
    return {
        hash_: {"metadata": {"labels": names.revision_labels(NAME, hash_)}, "spec": {"containers": [container]}}
        for hash_ in hashes
    }


def _live(world: World) -> dict[str, Any]:
    return {"metadata": {"annotations": world.annotations}, "spec": world.spec}


def _compared(world: World, after: World) -> diff_text.Comparison:
    then = after.snapshot()
    now = world.snapshot()
    records = {
        each["metadata"]["labels"]["sluicegate.dev/revision"]: each["data"]["intent"]
        for each in world.of_kind("ControllerRevision")
    }
    return diff_text.Comparison(
        live=_live(world),
        applied=_live(after),
        snapshot=then,
        before=settled(Gathered(now, _templates(now))),
        after=settled(Gathered(then, _templates(then))),
        inputs=msgspec.to_builtins(records),
    )


def _sentences(world: World, after: World) -> list[str]:
    comparison = _compared(world, after)
    return list(diff_text.sentences(comparison)) if comparison.changed else []


@pytest.fixture
def world() -> World:
    return World(1, scaling={"replicas": 2}).settle().rest()


def test_same_spec_changes_nothing(world: World) -> None:
    assert _sentences(world, copy.deepcopy(world)) == []


def test_scaling_restarts_nothing(world: World) -> None:
    one = f"churn-{world.hash_of(1)}"
    assert _sentences(world, copy.deepcopy(world).edit(scaling={"replicas": 5})) == [
        "spec.scaling.replicas: 2 -> 5",
        f"3 pods of {one} start (2 -> 5)",
    ]
    assert _sentences(world, copy.deepcopy(world).edit(scaling={"min": 2, "max": 5})) == [
        "spec.scaling.max: (absent) -> 5",
        "spec.scaling.min: (absent) -> 2",
        "spec.scaling.replicas: 2 -> (absent)",
        f"2 pods of {one} keep running, without a restart",
        "no pod starts, terminates or restarts",
        f"HorizontalPodAutoscaler {one} is created: 2 to 5 pods",
    ]


def test_new_version_is_a_new_revision_and_old_pods_drain(world: World) -> None:
    after = copy.deepcopy(world).serve(2)
    old, new = world.hash_of(1), world.hash_of(2)
    pods = ", ".join(sorted(pod.name for pod in world.snapshot().pods[old] if not pod.deleting))
    lines = _sentences(world, after)
    assert lines[:2] == [
        "spec.model.uri: models:/churn/1 -> models:/churn/2",
        f"new revision churn-{new} (churn/2) as Stable: differs from churn-{old} in the model's version: 1 -> 2",
    ]
    assert set(lines[2:]) == {
        f"2 pods of churn-{new} start (0 -> 2)",
        f"2 pods of churn-{old} drain once no request can reach them ({pods}); the revision is kept without pods",
        f"requests to churn-{old}: 100% -> 0%",
        f"requests to churn-{new}: 0% -> 100%",
    }
    after.settle().rest()
    back = _sentences(after, copy.deepcopy(after).serve(1))
    assert f"existing revision churn-{old} (churn/1) as Stable: its pods start again" in back


def test_canary_is_promoted_with_the_same_pods(world: World) -> None:
    world = World(1, scaling={"replicas": 2}, traffic={"gateway": {"parentRefs": [{"name": "gate"}]}}).settle().rest()
    beside = copy.deepcopy(world).canary(2, 10)
    stable, canary = world.hash_of(1), world.hash_of(2)
    lines = _sentences(world, beside)
    assert f"2 pods of churn-{stable} keep running, without a restart" in lines
    assert f"2 pods of churn-{canary} start (0 -> 2)" in lines
    assert f"requests to churn-{stable}: 100% -> 90%" in lines
    assert f"requests to churn-{canary}: 0% -> 10%" in lines
    beside.settle().rest()
    moved = _sentences(beside, copy.deepcopy(beside).canary(2, 50))
    assert "no pod starts, terminates or restarts" in moved
    assert f"requests to churn-{canary}: 10% -> 50%" in moved
    promoted = _sentences(beside, copy.deepcopy(beside).canary(None).serve(2))
    assert f"churn-{canary} (churn/2) becomes Stable instead of Canary, with the same pods" in promoted
    assert f"2 pods of churn-{canary} keep running, without a restart" in promoted
    assert f"requests to churn-{canary}: 10% -> 100%" in promoted


def test_problem_that_prevents_the_change_is_shown(world: World) -> None:
    after = copy.deepcopy(world).gateway()
    after.missing_gateway = True
    lines = _sentences(world, after)
    assert any(line.startswith("this would not take effect now: GatewayNotFound: ") for line in lines)


def test_steps_and_the_final_state_are_shown(world: World) -> None:
    steps = [{"weight": 5, "hold": "5m"}, {"pause": {}}, {"weight": 50}]
    analysis = {"metrics": [{"name": "errors", "type": "ErrorRate", "limit": 0.01}]}
    fresh = World(1, rollout={"steps": steps})
    first = replace(_compared(copy.deepcopy(fresh), fresh), live=None, before=None)
    steps_text = "the first revision becomes stable at once: spec.rollout.steps apply to later versions"
    assert steps_text in list(diff_text.sentences(first))
    by_steps = copy.deepcopy(world).edit(rollout={"steps": steps, "analysis": analysis})
    steps_text = "3 steps: 5% (hold 5m), pause until promoted, 50%, then 100%, with analysis of errors"
    assert _sentences(world, by_steps)[-2:] == [
        "no child changes, and no pod restarts",
        f"a new version rolls out in {steps_text}",
    ]
    by_steps.rest()
    old, new = world.hash_of(1), world.hash_of(2)
    lines = _sentences(by_steps, copy.deepcopy(by_steps).serve(2))
    assert f"churn-{new} rolls out in {steps_text}" in lines
    assert f"requests to churn-{new}: 0% -> 100%" in lines
    assert f"requests to churn-{old}: 100% -> 0%" in lines
    # The rollout is in progress. The first edit changes its steps, and the second returns to the stable revision.
    moving = copy.deepcopy(by_steps).serve(2).settle()
    edited = copy.deepcopy(moving).edit(rollout={"steps": [{"weight": 20}], "analysis": analysis})
    assert (
        "the rollout in progress continues at the first new step with a weight of at least 5%, or else at the last "
        "new step"
    ) in _sentences(moving, edited)
    # With the same steps, only those that are left count.
    scaled = copy.deepcopy(moving).edit(scaling={"replicas": 3})
    lines = _sentences(moving, scaled)
    assert f"churn-{new} continues at step 1 of 3: 5% (hold 5m), pause until promoted, 50%, then 100%" in lines
    moving.status = msgspec.structs.replace(
        moving.status, rollout=msgspec.structs.replace(moving.status.rollout, step_index=2, weight=50)
    )
    lines = _sentences(moving, copy.deepcopy(moving).edit(scaling={"replicas": 3}))
    assert f"churn-{new} continues at step 3 of 3: 50%, then 100%" in lines
    back = _sentences(moving, copy.deepcopy(moving).serve(1))
    assert not any("rolls out in" in each for each in back)
    assert f"2 pods of churn-{old} keep running, without a restart" in back


def test_yaml_is_a_unified_diff_of_each_changed_child(world: World) -> None:
    text = "".join(diff_text.manifests(_compared(world, copy.deepcopy(world).edit(scaling={"replicas": 5}))))
    assert [line for line in text.splitlines() if line.startswith("+++")] == [
        "+++ applied ModelDeployment/shop/churn",
        f"+++ applied Deployment/shop/churn-{world.hash_of(1)}",
    ]
    assert "-  replicas: 2\n+  replicas: 5\n" in text


def test_client_side_apply_removes_fields_that_it_had_set() -> None:
    original = {"metadata": {"name": "m"}, "spec": {"a": 1, "b": {"c": 2, "d": 3}, "list": [1]}}
    live = {
        "metadata": {"name": "m", "labels": {"x": "y"}},
        "spec": {"a": 1, "b": {"c": 2, "d": 3, "theirs": 9}, "list": [1]},
    }
    manifest = {"metadata": {"name": "m"}, "spec": {"b": {"c": 2, "e": 5}, "list": [1, 2]}}
    assert three_way(original, manifest, live) == {"spec": {"a": None, "b": {"d": None, "e": 5}, "list": [1, 2]}}


def test_field_manager_of_the_last_apply_is_the_default() -> None:
    def managed(*managers: str) -> dict[str, Any]:
        entries = [{"manager": manager, "operation": "Apply"} for manager in managers]
        return {
            "metadata": {
                "managedFields": [
                    *entries,
                    {"manager": "sluicegate-status", "operation": "Apply", "subresource": "status"},
                ]
            }
        }

    assert applier_of({}) == "kubectl"
    assert applier_of(managed("argocd-controller")) == "argocd-controller"
    assert applier_of(managed("argocd-controller", "kubectl")) == "kubectl"


def test_directory_is_replaced_by_its_files(tmp_path: Any) -> None:
    for name in ("b.yaml", "a.yml", "c.json", "d.txt"):
        (tmp_path / name).touch()
    assert files([str(tmp_path), "-"]) == [*(str(tmp_path / each) for each in ("a.yml", "b.yaml", "c.json")), "-"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unreadable, match=r"no \.yaml, \.yml or \.json file"):
        files([str(tmp_path / "empty")])
