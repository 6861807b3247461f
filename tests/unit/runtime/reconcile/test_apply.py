"""Which objects the apply step writes, deletes and adopts."""

from typing import Any

import pytest
from sluicegate.api import names
from sluicegate.kube import kinds
from sluicegate.kube.kinds import Kind
from sluicegate.render.children import owner_reference
from sluicegate.runtime.reconcile.ownership import GARBAGE_COLLECTION_SECONDS

from tests.support.fake_cluster import NAME, NAMESPACE, World
from tests.unit.core.decide.test_lives import reasons
from tests.unit.runtime.reconcile.test_refusals import PASSING, Operator


async def served(world: World) -> Operator:
    """Return an operator whose server has the children of a simulated cluster."""
    operator = Operator(world)
    await operator.store()
    operator.server.log.clear()
    return operator


def edit(operator: Operator, kind: Kind, name: str, cached: bool = True, **metadata: Any) -> dict[str, Any]:
    """Change the metadata of an object on the server as another client does."""
    stored = operator.server.objects[kind, name]
    operator.server._version += 1
    version = str(operator.server._version)
    changed = {**stored, "metadata": {**stored["metadata"], **metadata, "resourceVersion": version}}
    operator.server.objects[kind, name] = changed
    cache = operator.caches.children[kind]
    if cached:
        cache.put(changed)
    else:
        cache._store.deleted((NAMESPACE, name), changed["metadata"]["uid"], int(version))
    return changed


def add(operator: Operator, kind: Kind, name: str, like: str, **metadata: Any) -> None:
    """Store another object with the metadata of a child, without its owner references and annotations."""
    original = operator.server.objects[kind, like]
    kept = {"labels": original["metadata"]["labels"], "namespace": NAMESPACE, "name": name, "uid": name, **metadata}
    operator.server.objects[kind, name] = {**original, "metadata": {**kept, "resourceVersion": "1"}}
    operator.caches.children[kind].put(operator.server.objects[kind, name])


def all_owned(operator: Operator) -> bool:
    owner = owner_reference(operator.world.resource.metadata)
    objects = operator.server.objects.values()
    return all(owner in (stored["metadata"].get("ownerReferences") or ()) for stored in objects)


@pytest.mark.parametrize("kind", [kinds.SERVICE, kinds.PDB, kinds.DEPLOYMENT, kinds.CONTROLLER_REVISION])
async def test_an_object_of_a_user_with_the_labels_of_a_child_stays(kind: Kind) -> None:
    """`kubectl expose deployment churn-HASH --name my-lb` copies the labels. See also C6."""
    world = World().rest()
    operator = await served(world)
    add(operator, kind, "my-lb", f"{NAME}-{world.hash_of(1)}")
    before = operator.server.objects[kind, "my-lb"]
    world.serve(2).rest()
    await operator.reconcile()
    world.edit(rollout={"historyLimit": 0})
    await operator.reconcile()
    assert operator.server.objects[kind, "my-lb"] is before
    assert (kind, f"{NAME}-{world.hash_of(1)}") not in operator.server.objects


async def test_a_parked_revision_keeps_the_service_that_a_user_exposed_it_with() -> None:
    """`kubectl expose deployment churn-HASH` of a parked revision even makes the name of a child."""
    world = World().rest()
    operator = await served(world)
    first = f"{NAME}-{world.hash_of(1)}"
    world.serve(2).rest()
    await operator.reconcile()
    assert (kinds.SERVICE, first) not in operator.server.objects
    add(operator, kinds.SERVICE, first, f"{NAME}-{world.hash_of(2)}", labels=names.revision_labels(NAME, first[6:]))
    await operator.reconcile()
    assert (kinds.SERVICE, first) in operator.server.objects
    world.serve(1)
    await operator.reconcile()
    assert reasons(world)["Ready"] == "False NameTaken"


async def test_a_route_of_a_user_is_not_dropped() -> None:
    world = World().gateway().rest()
    operator = await served(world)
    edit(operator, kinds.HTTP_ROUTE, NAME, ownerReferences=[], annotations={})
    world.gateway(on=False).rest()
    await operator.reconcile()
    assert (kinds.HTTP_ROUTE, NAME) in operator.server.objects


async def test_orphans_are_adopted_whole() -> None:
    """`kubectl delete --cascade=orphan` and Velero leave every child without an owner. See also C23."""
    world = World(rollout={"historyLimit": 2}).gateway()
    for version in (1, 2, 3):
        world.serve(version).rest()
    operator = await served(world)
    data = {}
    for kind, name in list(operator.server.objects):
        data[kind, name] = edit(operator, kind, name, ownerReferences=[]).get("data")
    await operator.reconcile()
    assert all_owned(operator)
    patched = [line for line in operator.server.log if line.startswith("~")]
    assert len(patched) == len(data) == len(operator.server.log), "adoption writes nothing but the owner reference"
    assert len([key for key in data if key[0] is kinds.CONTROLLER_REVISION]) == 3
    assert all(operator.server.objects[key].get("data") == stored for key, stored in data.items())
    await operator.reconcile()
    assert operator.server.log == []


@pytest.mark.parametrize(
    "owner", [None, {"metadata": {"uid": "u-1", "deletionTimestamp": "now"}}, {"metadata": {"uid": "later"}}]
)
async def test_adopts_nothing_for_an_owner_that_goes(owner: dict[str, Any] | None) -> None:
    """During `kubectl delete --cascade=orphan`, the stream may be late. Garbage collection would delete the child."""
    operator = await served(World().rest())
    edit(operator, kinds.SERVICE, NAME, ownerReferences=[])
    operator.server.owner = owner
    applied = await operator.reconcile()
    assert operator.server.log == []
    assert applied.conflicts == 1 and applied.refused is None


async def test_surplus_orphans_are_adopted_and_deleted() -> None:
    world = World(rollout={"historyLimit": 1})
    for version in (1, 2):
        world.serve(version).rest()
    operator = await served(world)
    for kind, name in list(operator.server.objects):
        edit(operator, kind, name, ownerReferences=[])
    world.edit(rollout={"historyLimit": 0})
    await operator.reconcile()
    assert all_owned(operator)
    assert not [name for _, name in operator.server.objects if world.hash_of(1) in name]


async def test_an_orphan_that_the_caches_lack_is_adopted_by_the_next_reconcile() -> None:
    operator = await served(World().rest())
    edit(operator, kinds.SERVICE, NAME, cached=False, ownerReferences=[])
    applied = await operator.reconcile()
    assert (applied.conflicts, applied.refused) == (1, None)
    await operator.reconcile()
    assert operator.server.log == [f"~Service {NAME}"] and all_owned(operator)


async def test_a_child_that_lost_its_label_gets_it_back() -> None:
    operator = await served(World().rest())
    edit(operator, kinds.SERVICE, NAME, cached=False, labels={})
    assert (await operator.reconcile()).refused is None
    assert operator.server.objects[kinds.SERVICE, NAME]["metadata"]["labels"][names.LABEL_DEPLOYMENT] == NAME


async def test_a_failed_adoption_is_reported_and_writes_nothing() -> None:
    world = World().rest()
    operator = await served(world)
    edit(operator, kinds.SERVICE, NAME, ownerReferences=[])
    operator.refuse(kinds.SERVICE, PASSING["webhook"])
    world.serve(2).rest()
    await operator.reconcile()
    assert f"Service {NAME}" not in operator.server.log
    assert reasons(world)["Ready"] == "False ApplyRefused"


async def test_a_child_of_an_earlier_owner_is_adopted_once_it_remains() -> None:
    """Garbage collection deletes it within seconds, unless it does not work."""
    operator = await served(World().rest())
    earlier = {**owner_reference(operator.world.resource.metadata), "uid": "earlier"}
    for kind, name in list(operator.server.objects):
        edit(operator, kind, name, ownerReferences=[earlier])
    await operator.reconcile()
    assert operator.server.log == []
    assert reasons(operator.world)["Ready"] == "False NameTaken"
    assert reasons(operator.world)["Stalled"] == "False NotStalled"
    operator.world.later(GARBAGE_COLLECTION_SECONDS)
    assert (await operator.reconcile()).refused is None
    assert all_owned(operator)


async def test_never_takes_over_an_object_of_another_owner() -> None:
    operator = await served(World().rest())
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x", "controller": True}
    for cached in (True, False):
        edit(operator, kinds.SERVICE, NAME, cached=cached, ownerReferences=[owner], labels={})
        await operator.reconcile()
        assert reasons(operator.world)["Stalled"] == "True NameTaken"
        assert operator.server.objects[kinds.SERVICE, NAME]["metadata"]["ownerReferences"] == [owner]
