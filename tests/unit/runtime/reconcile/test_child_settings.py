"""Settings of the children outside their pods: they apply to existing revisions at once, and restart no pod."""

from typing import Any

import msgspec
from sluicegate.config.child_settings import ChildSettings
from sluicegate.core.decide.decision import decide
from sluicegate.core.snapshot.assessment import assess
from sluicegate.kube import kinds
from sluicegate.runtime.reconcile.gather import Gathered

from tests.support.api_objects import _template
from tests.support.fake_cluster import NAME, World
from tests.unit.runtime.reconcile.test_refusals import Operator

LABELED = ChildSettings(inherited_labels=("team",))


async def reconcile(operator: Operator, settings: ChildSettings, **labels: str) -> list[str]:
    """Reconcile until nothing changes, and return the writes."""
    written: list[str] = []
    for _ in range(3):
        snapshot = operator.world.snapshot()
        metadata = msgspec.structs.replace(snapshot.resource.metadata, labels=labels)
        resource = msgspec.structs.replace(snapshot.resource, metadata=metadata)
        plan = decide(assess(snapshot))
        templates = {entry.hash: _template(NAME, entry.hash) for entry in plan.revisions}
        operator.server.log.clear()
        await operator.applier.apply(resource, Gathered(snapshot, templates, settings), plan)
        if not operator.server.log:
            break
        written += operator.server.log
    return written


def templates(operator: Operator) -> list[dict[str, Any]]:
    return [each["spec"]["template"] for (kind, _), each in operator.server.objects.items() if kind is kinds.DEPLOYMENT]


async def test_budgets_are_deleted_and_come_back_with_the_setting() -> None:
    operator = Operator(World().rest())
    budget = f"PodDisruptionBudget {NAME}-{operator.world.hash_of(1)}"
    assert budget in await reconcile(operator, ChildSettings())
    assert await reconcile(operator, ChildSettings(pod_disruption_budget=False)) == [f"-{budget}"]
    assert set(await reconcile(operator, ChildSettings())) == {budget}


async def test_a_changed_label_reaches_every_child_and_no_pod() -> None:
    operator = Operator(World().gateway().rest().edit(scaling={"min": 1, "max": 3}))
    await reconcile(operator, LABELED, team="risk")
    before = templates(operator)
    await reconcile(operator, LABELED, team="shop", other="x")
    children = {kind.kind: each["metadata"]["labels"] for (kind, _), each in operator.server.objects.items()}
    assert len(children) == 5
    assert {labels.get("team") for labels in children.values()} == {"shop"}
    assert not [labels for labels in children.values() if "other" in labels]
    assert templates(operator) == before
    await reconcile(operator, LABELED)
    assert not [each for each in operator.server.objects.values() if "team" in each["metadata"]["labels"]]


async def test_no_setting_writes_nothing_to_what_an_older_operator_made() -> None:
    operator = Operator(World().rest())
    await reconcile(operator, ChildSettings())
    assert await reconcile(operator, ChildSettings(), team="risk") == []


async def test_services_get_the_ip_family_policy_and_deployments_stay() -> None:
    operator = Operator(World().rest())
    await reconcile(operator, ChildSettings())
    written = await reconcile(operator, ChildSettings(ip_family_policy="PreferDualStack"))
    assert written == [f"Service {NAME}-{operator.world.hash_of(1)}", f"Service {NAME}"]
