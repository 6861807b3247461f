"""A tenant with the role `edit` in one namespace, who writes whatever the API server accepts.

Nothing of it has an effect in another namespace. `docs/guide/security.md` lists the threats.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from sluicegate.api import names
from sluicegate.config.settings import Settings
from sluicegate.kube import kinds

from tests.apiserver.testbed import NODE, SECOND, World
from tests.golden.chart import template

pytestmark = pytest.mark.usefixtures("crd")

EVERYWHERE = Settings(namespace=None, leader_election=False)
CHILDREN = (kinds.DEPLOYMENT, kinds.CONTROLLER_REVISION, kinds.SERVICE, kinds.PDB)
API = f"{names.GROUP}/v1alpha1"


class Tenant(NamedTuple):
    """A ServiceAccount that has the role `edit` in its namespace, and no other role."""

    namespace: str
    kubectl: Callable[..., Any]

    def write(self, manifest: dict[str, Any], namespace: str | None = None) -> bool:
        """Create or replace an object, and tell whether the API server accepted it."""
        user = f"--as=system:serviceaccount:{self.namespace}:tenant"
        args = ("-n", namespace or self.namespace, user, "apply", "--server-side", "--force-conflicts", "-f", "-")
        return bool(self.kubectl(*args, input=manifest, check=False).code == 0)


@pytest.fixture
def tenant(namespace: str, kubectl: Callable[..., Any]) -> Iterator[Tenant]:
    own = f"{namespace}-tenant"
    kubectl("create", "namespace", own)
    kubectl("-n", own, "create", "serviceaccount", "tenant")
    kubectl("-n", own, "create", "rolebinding", "tenant", "--clusterrole=edit", f"--serviceaccount={own}:tenant")
    aggregated = [
        json.dumps(manifest)
        for manifest in template("--namespace", namespace)
        if "aggregate-to-edit" in json.dumps(manifest["metadata"].get("labels") or {})
    ]
    assert aggregated
    for manifest in aggregated:
        kubectl("apply", "-f", "-", input=manifest)
    yield Tenant(own, kubectl)
    for manifest in aggregated:
        kubectl("delete", "-f", "-", input=manifest)
    kubectl("delete", "namespace", own, "--wait=false")


@pytest.fixture
def third(namespace: str, kubectl: Callable[..., Any]) -> Iterator[str]:
    """Create a namespace without models."""
    name = f"{namespace}-third"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def model(name: str, **spec: Any) -> dict[str, Any]:
    fields = {
        "model": {"uri": SECOND},
        "runtime": {"name": "custom", "image": "example/model:1"},
        "podTemplate": {"spec": {"nodeName": NODE}},
        **spec,
    }
    return {"apiVersion": API, "kind": names.KIND, "metadata": {"name": name}, "spec": fields}


def forged(victim: str, owner: dict[str, Any]) -> list[dict[str, Any]]:
    """Return objects that look like children of the victim's ModelDeployment `demo`."""
    labels = {names.LABEL_MANAGED_BY: names.MANAGER, names.LABEL_DEPLOYMENT: "demo"}
    metadata = {"labels": {**labels, "sluicegate.dev/revision": "bcdfghjklm"}}
    selector = {"matchLabels": {"app": "forged"}}
    pods = {"metadata": {"labels": {"app": "forged"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
    lease = {"holderIdentity": "tenant", "leaseDurationSeconds": 3600}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "demo-bcdfghjklm", **metadata},
            "spec": {"selector": selector, "template": pods},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "demo", **metadata, "ownerReferences": [owner]},
            "spec": {"ports": [{"port": 80}], "type": "ExternalName", "externalName": f"demo.{victim}.svc"},
        },
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "sluicegate-operator", "labels": labels},
            "spec": lease,
        },
    ]


async def children(world: World, namespace: str) -> set[tuple[str, str, str, str]]:
    """Return kind, name, UID and generation of the operator's objects in a namespace."""
    return {
        (kind.kind, each["metadata"]["name"], each["metadata"]["uid"], str(each["metadata"].get("generation")))
        for kind in CHILDREN
        for each in (await world.client.list(kind, namespace)).items
        if each["metadata"]["name"] != "kubernetes"
    }


async def test_tenant_gains_nothing_beyond_its_namespace(world: World, tenant: Tenant, third: str) -> None:
    async with world.operator(EVERYWHERE):
        await world.resource()
        await world.until_serving()
        before = await children(world, world.namespace)
        victim = await world.client.get(kinds.MODEL_DEPLOYMENT, world.namespace, "demo")
        assert victim is not None
        owner = {"apiVersion": API, "kind": names.KIND, "name": "demo", "uid": victim["metadata"]["uid"]}

        for namespace in (world.namespace, third):
            assert not tenant.write(model("demo"), namespace), "edit in one namespace is no right in another"
        elsewhere = {"metadata": {"namespace": world.namespace, "name": "demo"}, "spec": {"nodeName": NODE}}
        assert tenant.write(model("elsewhere", podTemplate=elsewhere))
        secret = {"trackingUri": "http://127.0.0.1:9", "secretRef": {"name": f"../{world.namespace}/demo"}}
        tenant.write(model("secret", model={"uri": "models:/m/1", "inlineRegistry": secret}))
        accepted = [tenant.write(manifest) for manifest in forged(world.namespace, owner)]
        assert accepted[0], "a user with the role edit may create Deployments"
        assert tenant.write(model("demo", scaling={"replicas": 2}))
        assert tenant.write(model("good"))

        async def served() -> bool:
            found = await world.client.list(kinds.DEPLOYMENT, tenant.namespace, f"{names.LABEL_DEPLOYMENT}=good")
            return bool(found.items)

        await world.until(served)
        await world.until_serving()
        assert await children(world, world.namespace) == before
        assert await children(world, third) == set()
        foreign = await world.client.get(kinds.DEPLOYMENT, tenant.namespace, "demo-bcdfghjklm")
        assert foreign is not None, "the operator deletes only what it owns"
        await world.resource(uri=SECOND)
        await world.until_serving(SECOND)
