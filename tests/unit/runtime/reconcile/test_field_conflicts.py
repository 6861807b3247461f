"""The brake on writes that another client reverts: how often they are made, and what status says."""

from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from sluicegate.api import names
from sluicegate.kube import kinds
from sluicegate.runtime.reconcile.field_conflicts import FREE, MAX_SECONDS, managers_of

from tests.support.fake_cluster import NAME, START, World
from tests.unit.core.decide.test_lives import reasons
from tests.unit.runtime.reconcile.test_apply import served
from tests.unit.runtime.reconcile.test_refusals import Operator

FLUX = {
    "manager": "kustomize-controller",
    "operation": "Apply",
    "time": "2026-03-01T12:00:00Z",
    "fieldsV1": {"f:spec": {"f:ports": {'k:{"port":80}': {"f:targetPort": {}}}, "f:selector": {}}},
}
HELM = {
    "manager": "helm",
    "operation": "Update",
    "time": "2026-03-01T13:00:00Z",
    "fieldsV1": {"f:metadata": {"f:labels": {"f:app.kubernetes.io/managed-by": {}}}, "f:spec": {"f:type": {}}},
}
SCALE = {
    "manager": "kube-controller-manager",
    "operation": "Update",
    "subresource": "scale",
    "fieldsV1": {"f:spec": {"f:replicas": {}}},
}
OURS = {**FLUX, "manager": names.MANAGER, "time": "2026-03-01T14:00:00Z"}


def revert(operator: Operator, managers: Any = (FLUX, OURS)) -> bool:
    """Change the selector of the stable Service, as another controller does.

    Returns:
        Whether it was as the operator wants it.
    """
    stored = operator.server.objects[kinds.SERVICE, NAME]
    was_right = stored["spec"]["selector"] != {"app": "mine"}
    operator.server._version += 1
    metadata = {**stored["metadata"], "resourceVersion": str(operator.server._version), "managedFields": list(managers)}
    changed = {**stored, "metadata": metadata, "spec": {**stored["spec"], "selector": {"app": "mine"}}}
    operator.server.objects[kinds.SERVICE, NAME] = changed
    operator.caches.children[kinds.SERVICE].put(changed)
    return was_right


async def fight(operator: Operator, seconds: float, every: float = 0.5) -> list[datetime]:
    """Revert each write within `every` seconds, and return the times of the operator's writes."""
    writes = []
    for _ in range(round(seconds / every)):
        revert(operator)
        await operator.reconcile()
        if f"Service {NAME}" in operator.server.log:
            writes.append(operator.world.now)
        operator.world.later(every)
    return writes


async def test_a_reverted_write_is_repeated_ever_more_rarely() -> None:
    operator = await served(World().rest())
    writes = await fight(operator, 100)
    assert len(writes) <= FREE + 5
    gaps = [(after - before).total_seconds() for before, after in pairwise(writes)]
    assert gaps[:FREE] == [0.5] * FREE and gaps[FREE:] == sorted(gaps[FREE:]) and gaps[-1] >= 40


async def test_a_conflict_never_stops_the_writes_for_good() -> None:
    operator = await served(World().rest())
    writes = await fight(operator, 3 * 3600, every=30)
    assert len(writes) >= 3 * 3600 / MAX_SECONDS
    assert (operator.world.now - writes[-1]).total_seconds() <= MAX_SECONDS


async def test_status_names_the_field_and_its_other_manager() -> None:
    operator = await served(World().rest())
    await fight(operator, 5)
    assert reasons(operator.world)["Ready"] == "False FieldConflict"
    assert reasons(operator.world)["Stalled"] == "False NotStalled"
    message = operator.world.condition("Ready").message
    assert "The field manager kustomize-controller changes spec.selector" in message and f"Service {NAME}" in message


async def test_status_does_not_change_during_a_conflict() -> None:
    operator = await served(World().rest())
    await fight(operator, FREE)
    seen = set()
    for _ in range(200):
        await fight(operator, 1, every=1)
        ready = operator.world.condition("Ready")
        seen.add((ready.reason, ready.message))
    assert len(seen) == 1


async def test_a_second_operator_has_the_same_field_manager() -> None:
    operator = await served(World().rest())
    for _ in range(FREE + 2):
        revert(operator, [OURS])
        await operator.reconcile()
    assert "perhaps a second operator" in operator.world.condition("Ready").message


async def test_a_conflict_ends_once_nobody_reverts_the_write() -> None:
    operator = await served(World().rest())
    await fight(operator, 5)
    for _ in range(20):
        applied = await operator.reconcile()
        if applied.recheck_after is None:
            break
        operator.world.later(applied.recheck_after)
    assert applied.refused is None and operator.world.now > START
    assert "FieldConflict" not in str(reasons(operator.world))
    assert revert(operator)
    await operator.reconcile()
    assert operator.server.log == [f"Service {NAME}"], "the next change is put back at once"


async def test_changes_by_hand_are_put_back_at_once() -> None:
    operator = await served(World().rest())
    for _ in range(10):
        revert(operator)
        assert (await operator.reconcile()).refused is None
        assert operator.server.log == [f"Service {NAME}"]
        operator.world.later(120)


async def test_a_change_of_the_spec_is_written_at_once_during_a_conflict() -> None:
    world = World(scaling={"replicas": 1}).rest()
    operator = await served(world)
    for replicas in range(2, 10):
        world.edit(scaling={"replicas": replicas})
        await operator.reconcile()
        assert f"Deployment {NAME}-{world.hash_of(1)}" in operator.server.log
    await fight(operator, 5)
    world.serve(2).rest()
    await operator.reconcile()
    assert f"Service {NAME}" in operator.server.log


@pytest.mark.parametrize(
    ("path", "managers"),
    [
        (".spec.selector.app", ["kustomize-controller"]),
        (".spec.ports[0].port", ["kustomize-controller"]),
        (".metadata.labels.app.kubernetes.io/managed-by", ["helm"]),
        (".spec.replicas", ["kube-controller-manager"]),
        (".spec.clusterIP", []),
    ],
)
def test_managers_of_a_field(path: str, managers: list[str]) -> None:
    status = {**FLUX, "manager": "kubelet", "subresource": "status"}
    assert managers_of({"managedFields": [OURS, FLUX, HELM, SCALE, status]}, path) == managers
    assert managers_of({}, path) == []
