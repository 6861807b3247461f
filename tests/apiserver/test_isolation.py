"""Hostile resources in one namespace, and a resource in another one.

No registry, server or reconcile can handle the hostile resources. They must not affect the other resource.
"""

from typing import Any

import pytest
from sluicegate.config.settings import Settings
from sluicegate.core.decide.decision import decide
from sluicegate.core.plan.types import Plan
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.kube import kinds

from tests.apiserver.conftest import Kubectl
from tests.apiserver.testbed import FIRST, SECOND, World

pytestmark = pytest.mark.usefixtures("crd")

HOSTILE = {
    "idna": "http://xn--a",
    "port": "http://h:99999",
    "label": "http://" + "a" * 64,
    "control": "http://h/\x7f",
    "bracket": "http://[::1",
    "percent": "http://%00",
    "closed": "http://127.0.0.1:9",
}
RUNTIME = {"name": "custom", "image": "example/model:1"}


@pytest.fixture
def others(kubectl: Kubectl, namespace: str) -> Any:
    """Create a second namespace.

    The operator watches all namespaces, which is its usual configuration.
    """
    name = f"{namespace}-hostile"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


EVERYWHERE = Settings(namespace=None, leader_election=False, follow_interval=1)


async def hostile(world: World, namespace: str, uri: str) -> list[str]:
    """Create a resource for each hostile address, and return their names."""
    taken = []
    for name, address in HOSTILE.items():
        name = f"{name}-{'alias' if '@' in uri else 'fixed'}"
        manifest = {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"model": {"uri": uri, "inlineRegistry": {"trackingUri": address}}, "runtime": RUNTIME},
        }
        await world.client.apply(kinds.MODEL_DEPLOYMENT, manifest, manager="user")
        # The model is pinned in status, as that of a resource whose registry worked before. So the operator follows it.
        model = {"uri": uri, "registry": address, "source": "s3://b/m", "name": "m", "version": "1"}
        patch = {"status": {"model": model}}
        await world.client.merge_patch(kinds.MODEL_DEPLOYMENT, namespace, name, patch, subresource="status")
        taken.append(name)
    return taken


async def conditions(world: World, namespace: str, name: str) -> dict[str, tuple[str, str, str]]:
    resource = await world.client.get(kinds.MODEL_DEPLOYMENT, namespace, name) or {}
    listed = (resource.get("status") or {}).get("conditions") or ()
    return {each["type"]: (each["status"], each["reason"], each.get("message", "")) for each in listed}


async def test_hostile_registries_stop_nobody_else_nor_the_next_start(world: World, others: str) -> None:
    names = await hostile(world, others, "models:/m@a") + await hostile(world, others, "models:/m/1")
    fresh = {"uri": "models:/m@a", "inlineRegistry": {"trackingUri": HOSTILE["idna"]}}
    manifest = {"metadata": {"name": "fresh", "namespace": others}, "spec": {"model": fresh, "runtime": RUNTIME}}
    await world.client.apply(kinds.MODEL_DEPLOYMENT, manifest, manager="user")
    for uri in (FIRST, SECOND):  # The second URI is applied after a restart.
        async with world.operator(EVERYWHERE) as operator:
            await world.resource(uri=uri)
            await world.until_serving(uri)

            async def followed() -> bool:
                """Tell whether every hostile registry has failed several times."""
                followers = operator.follower._followers
                return {registry.name for registry in followers} == set(HOSTILE.values()) and all(
                    follower.health.problem for follower in followers.values()
                )

            await world.until(followed)
            assert {resource.key[1] for resource in operator.resources.items() if resource.key[0] == others} >= set(
                names
            )

            async def told() -> bool:
                found = await conditions(world, others, "fresh")
                return found.get("ModelResolved", ("", "", ""))[:2] == ("False", "RegistryUnreachable")

            await world.until(told)
    found = (await conditions(world, others, "fresh"))["ModelResolved"][2]
    assert found.startswith("spec.model.inlineRegistry.trackingUri: 'http://xn--a' cannot be used, because its host")
    assert (await conditions(world, others, "idna-alias"))["ModelResolved"][:2] == ("False", "RegistryUnreachable")


async def test_a_reconcile_that_fails_unexpectedly_is_a_condition(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True

    def failing(assessment: Assessment) -> Plan:
        if broken and assessment.snapshot.resource.metadata.name == "broken":
            raise LookupError("with a secret in it")
        return decide(assessment)

    monkeypatch.setattr("sluicegate.runtime.reconcile.reconciler.decide", failing)
    async with world.operator():
        await world.resource("broken")
        await world.resource()
        await world.until_serving()

        async def told() -> bool:
            return await world.condition("Ready", "broken") == ("False", "InternalError")

        await world.until(told)
        found = await conditions(world, world.namespace, "broken")
        assert "LookupError" in found["Ready"][2] and "secret" not in found["Ready"][2]
        assert found["Reconciling"][:2] == ("True", "InternalError") and found["Stalled"][0] == "False"
        broken = False
        await world.until_serving(name="broken")
