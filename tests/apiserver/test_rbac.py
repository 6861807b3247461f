"""The operator under its own ServiceAccount, on an API server with RBAC.

It has the rights that the chart grants, and no others.
"""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sluicegate.config.settings import Settings
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.kube.transport import ClientOptions

from tests.apiserver.testbed import NODE, SECOND, World
from tests.golden.chart import template

pytestmark = pytest.mark.usefixtures("crd")
REGISTRIES = (
    "--set",
    "settings.registries.default.trackingUri=http://mlflow,settings.registries.default.secret=mlflow",
)
RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


class Place(NamedTuple):
    """The operator's namespace, and a namespace to which it has no access."""

    own: str
    other: str


@pytest.fixture
def place(namespace: str, kubectl: Callable[..., Any]) -> Iterator[Place]:
    other = f"{namespace}-x"
    kubectl("create", "namespace", other)
    yield Place(namespace, other)
    kubectl("delete", "namespace", other, "--wait=false")


@pytest.fixture
def granted(place: Place, kubectl: Callable[..., Any]) -> Iterator[Callable[..., None]]:
    """Return a function that applies the chart's RBAC objects.

    The chart is rendered with the given values. Nothing else of it is applied.
    """
    done: list[str] = []

    def grant(*values: str) -> None:
        manifests = template(*REGISTRIES, *values, "--namespace", place.own)
        done[:] = [json.dumps(each) for each in manifests if each["kind"] in RIGHTS]
        for manifest in done:
            kubectl("apply", "-f", "-", input=manifest)

    yield grant
    for manifest in done:
        kubectl("delete", "--ignore-not-found", "-f", "-", input=manifest)


class Requests(list[tuple[str, str, str]]):
    """(verb, kind, outcome) of every request that the operator sends."""

    def refused(self) -> set[tuple[str, str]]:
        return {(verb, kind) for verb, kind, outcome in self if outcome == "Forbidden"}


class Guarded(NamedTuple):
    """A world, the requests of its operator, and the operator's settings.

    The operator authenticates as its ServiceAccount.
    """

    world: World
    requests: Requests
    settings: Settings


@pytest.fixture
async def guarded(
    kubeconfig: str,
    place: Place,
    kubectl: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    granted: Callable[..., None],
) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that creates the world.

    Call it once, with the chart's values and the settings.
    """
    kubectl("apply", "-f", "-", input={"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    clients: list[Any] = []

    async def make(*values: str, **settings: Any) -> Guarded:
        granted(*values)
        path = tmp_path / "operator.conf"
        token = kubectl("-n", place.own, "create", "token", "sluicegate").out.strip()
        path.write_text(json.dumps(with_token(kubectl("config", "view", "--raw", "-o", "json").out, token)))
        monkeypatch.setitem(os.environ, "KUBECONFIG", str(path))
        requests = Requests()
        options = ClientOptions(on_request=lambda verb, kind, outcome, _: requests.append((verb, kind, outcome)))
        clients.extend([KubeClient.connect(str(path), options=options), KubeClient.connect(kubeconfig)])
        observed, hand = [await client.__aenter__() for client in clients]
        world = World(hand, observed, place.own, kubectl, [])
        return Guarded(world, requests, Settings(operator_namespace=place.own, leader_election=True, **settings))

    yield make
    for client in clients:
        await client.__aexit__(None, None, None)


def with_token(admin: str, token: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(admin)
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    return config


async def test_a_whole_life_under_the_charts_rights(guarded: Callable[..., Any]) -> None:
    """Check that the API server rejects no request in a whole life.

    The life includes leader election, two revisions, an autoscaler that is added and removed, repairs, Events, and the
    deletion.
    """
    world, requests, settings = await guarded()
    async with world.operator(settings):
        await live(world)
    assert requests.refused() == set()
    done = {(verb, kind) for verb, kind, outcome in requests if outcome == "ok"}
    for kind in ("Lease", "Deployment", "Service", "ControllerRevision", "PodDisruptionBudget", "Event"):
        assert done & {("apply", kind), ("create", kind)}, f"no {kind} was written: the test has missed something"
    assert {("delete", "HorizontalPodAutoscaler"), ("delete", "Service")} <= done


async def live(world: World) -> None:
    requests = {"requests": {"cpu": "10m"}}
    await world.resource(resources=requests)
    await world.until_serving()
    first = (await world.status())["revisions"][0]["name"]
    await world.resource(resources=requests, scaling={"min": 1, "max": 3})
    await world.until(lambda: world.children(kinds.HPA))
    await world.resource(resources=requests)

    async def fixed() -> bool:
        return not await world.children(kinds.HPA)

    await world.until(fixed)
    await world.client.delete(kinds.PDB, world.namespace, first)
    await world.until(lambda: world.children(kinds.PDB))
    await world.resource(uri=SECOND)
    await world.until_serving(SECOND)

    async def parked() -> bool:
        return first not in [child["metadata"]["name"] for child in await world.children(kinds.SERVICE)]

    await world.until(parked)
    await world.client.delete(kinds.MODEL_DEPLOYMENT, world.namespace, "demo")
    await world.until_collected(kinds.DEPLOYMENT)


async def test_one_namespace_is_served_without_a_right_in_any_other(
    guarded: Callable[..., Any], place: Place, kubectl: Callable[..., Any]
) -> None:
    """Check that an operator for one namespace needs no rights in another.

    The API server rejects its requests for GatewayClasses. The operator must serve nevertheless.
    """
    one = ("--set", f"watchNamespace={place.own},rbac.gatewayClasses=false,crd.install=false")
    world, requests, settings = await guarded(*one, namespace=place.own)
    await world.client.apply(kinds.MODEL_DEPLOYMENT, elsewhere(place.other), manager="user")
    async with world.operator(settings) as operator:
        await live(world)
        assert {resource.key for resource in operator.resources.items()} <= {(place.own, "demo")}
    assert requests.refused() == {("list", "GatewayClass")}
    outside = await world.client.get(kinds.MODEL_DEPLOYMENT, place.other, "demo")
    assert outside is not None
    assert "conditions" not in (outside.get("status") or {})
    await check(world, place, allowed=own_rights(place.own), refused=namespaced_refusals(place))
    rights = kubectl("get", "clusterrolebindings", "-o", "json").out
    ours = [item for item in json.loads(rights)["items"] if bound(item, place.own)]
    assert ours == [], "a namespaced release has a cluster-wide binding"


def elsewhere(namespace: str) -> dict[str, Any]:
    spec = {"model": {"uri": "image:///opt/model"}, "runtime": {"name": "custom", "image": "example/model:1"}}
    return {"metadata": {"name": "demo", "namespace": namespace}, "spec": spec}


def bound(binding: dict[str, Any], namespace: str) -> bool:
    return any(subject.get("namespace") == namespace for subject in binding.get("subjects") or ())


Right = tuple[str, str, str, str]
"""Verb, resource.group/subresource, namespace and name. An empty namespace or name means all."""


def own_rights(namespace: str) -> list[Right]:
    """Return the rights that the operator needs in a namespace that it serves."""
    children = (
        "deployments.apps",
        "controllerrevisions.apps",
        "services",
        "horizontalpodautoscalers.autoscaling",
        "poddisruptionbudgets.policy",
        "httproutes.gateway.networking.k8s.io",
    )
    seen = ("pods", "endpointslices.discovery.k8s.io", "gateways.gateway.networking.k8s.io")
    return [
        *((verb, "modeldeployments.sluicegate.dev", namespace, "") for verb in ("get", "list", "watch")),
        ("patch", "modeldeployments.sluicegate.dev/status", namespace, "demo"),
        *(
            (verb, child, namespace, "")
            for child in children
            for verb in ("list", "watch", "create", "patch", "delete")
        ),
        *((verb, each, namespace, "") for each in seen for verb in ("list", "watch")),
        ("create", "events", namespace, ""),
    ]


def in_its_own(namespace: str) -> list[Right]:
    """Return the rights that the operator needs in its own namespace."""
    return [
        ("get", "secrets", namespace, "mlflow"),
        ("create", "leases.coordination.k8s.io", namespace, ""),
        ("patch", "leases.coordination.k8s.io", namespace, "sluicegate-operator"),
    ]


def refusals(place: Place) -> list[Right]:
    """Return the rights that a compromised operator must not have.

    Namespace and name are those of the request to the API server.
    """
    own, other = place
    return [
        # Secrets: only those of the registries, each by its name.
        ("get", "secrets", own, "another"),
        ("list", "secrets", own, ""),
        ("watch", "secrets", own, "mlflow"),
        ("update", "secrets", own, "mlflow"),
        ("delete", "secrets", own, "mlflow"),
        ("create", "secrets", own, ""),
        ("get", "secrets", other, "mlflow"),
        ("list", "secrets", other, ""),
        ("list", "secrets", "", ""),
        ("get", "configmaps", own, "sluicegate"),
        ("list", "configmaps", "", ""),
        ("patch", "configmaps", own, "sluicegate"),
        # Other ways than a Deployment to run containers, and ways to get into a container.
        ("create", "pods", own, ""),
        ("delete", "pods", own, "a"),
        ("patch", "pods", own, "a"),
        ("create", "pods/exec", own, "a"),
        ("get", "pods/exec", own, "a"),
        ("create", "pods/attach", own, "a"),
        ("create", "pods/portforward", own, "a"),
        ("get", "pods/log", own, "a"),
        ("patch", "pods/ephemeralcontainers", own, "a"),
        ("create", "pods/eviction", own, "a"),
        ("create", "daemonsets.apps", own, ""),
        ("create", "statefulsets.apps", own, ""),
        ("create", "jobs.batch", own, ""),
        ("create", "cronjobs.batch", own, ""),
        # More rights, or those of other users.
        ("escalate", "roles.rbac.authorization.k8s.io", own, "a"),
        ("bind", "roles.rbac.authorization.k8s.io", own, "a"),
        ("create", "roles.rbac.authorization.k8s.io", own, ""),
        ("create", "rolebindings.rbac.authorization.k8s.io", own, ""),
        ("bind", "clusterroles.rbac.authorization.k8s.io", "", "cluster-admin"),
        ("escalate", "clusterroles.rbac.authorization.k8s.io", "", "a"),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io", "", ""),
        ("impersonate", "users", "", "admin"),
        ("impersonate", "groups", "", "system:masters"),
        ("impersonate", "serviceaccounts", own, "default"),
        ("create", "serviceaccounts/token", own, "sluicegate"),
        ("create", "serviceaccounts", own, ""),
        ("create", "certificatesigningrequests.certificates.k8s.io", "", ""),
        # The cluster itself.
        ("get", "nodes", "", "a"),
        ("list", "nodes", "", ""),
        ("get", "nodes/proxy", "", "a"),
        ("list", "namespaces", "", ""),
        ("delete", "namespaces", "", other),
        ("create", "namespaces", "", ""),
        ("patch", "customresourcedefinitions.apiextensions.k8s.io", "", "modeldeployments.sluicegate.dev"),
        ("create", "mutatingwebhookconfigurations.admissionregistration.k8s.io", "", ""),
        ("create", "persistentvolumes", "", ""),
        ("create", "persistentvolumeclaims", own, ""),
        # What belongs to the user (specs) and to the platform team (Gateways).
        ("patch", "modeldeployments.sluicegate.dev", own, "demo"),
        ("update", "modeldeployments.sluicegate.dev", own, "demo"),
        ("create", "modeldeployments.sluicegate.dev", own, ""),
        ("delete", "modeldeployments.sluicegate.dev", own, "demo"),
        ("patch", "modeldeployments.sluicegate.dev/scale", own, "demo"),
        ("patch", "gateways.gateway.networking.k8s.io", own, "a"),
        ("patch", "gatewayclasses.gateway.networking.k8s.io", "", "a"),
        ("patch", "httproutes.gateway.networking.k8s.io/status", own, "a"),
        ("create", "ingresses.networking.k8s.io", own, ""),
        ("create", "networkpolicies.networking.k8s.io", own, ""),
        # More than the operator needs on objects that it may write.
        ("deletecollection", "deployments.apps", own, ""),
        ("deletecollection", "services", own, ""),
        ("patch", "leases.coordination.k8s.io", own, "of-somebody-else"),
        ("delete", "leases.coordination.k8s.io", own, "sluicegate-operator"),
        ("get", "leases.coordination.k8s.io", "kube-system", "kube-scheduler"),
        ("list", "events", own, ""),
        ("*", "*.*", "", ""),
    ]


def namespaced_refusals(place: Place) -> list[Right]:
    """Return the rights that an operator for one namespace must not have.

    These include, in any other namespace, everything that it may do in its own.
    """
    everywhere = [(verb, what, "", name) for verb, what, _, name in own_rights("")]
    return [
        *refusals(place),
        *own_rights(place.other),
        *everywhere,
        ("list", "gatewayclasses.gateway.networking.k8s.io", "", ""),
    ]


async def check(world: World, place: Place, allowed: list[Right], refused: list[Right]) -> None:
    """Ask the API server about each right, as it would decide on a request."""
    wrong = [f"may not: {' '.join(right)}" for right in allowed if not await may(world, place, right)]
    wrong += [f"may: {' '.join(right)}" for right in refused if await may(world, place, right)]
    assert wrong == []


async def may(world: World, place: Place, right: Right) -> bool:
    verb, what, namespace, name = right
    what, _, subresource = what.partition("/")
    resource, _, group = what.partition(".")
    asked = {"verb": verb, "resource": resource, "group": group, "subresource": subresource}
    user = f"system:serviceaccount:{place.own}:sluicegate"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{place.own}", "system:authenticated"]
    spec = {"user": user, "groups": groups, "resourceAttributes": {**asked, "namespace": namespace, "name": name}}
    answer = await world.client.create(kinds.SUBJECT_ACCESS_REVIEW, {"metadata": {}, "spec": spec})
    return bool(answer["status"]["allowed"])


async def test_all_namespaces_are_served_and_the_rest_is_refused(guarded: Callable[..., Any], place: Place) -> None:
    world, _, _ = await guarded()
    allowed = [*own_rights(place.own), *own_rights(place.other), *own_rights(""), *in_its_own(place.own)]
    await check(world, place, allowed, refusals(place))


async def test_workload_secrets_are_readable_by_name_where_the_values_say(
    guarded: Callable[..., Any], place: Place
) -> None:
    given = f"rbac.workloadSecrets[0].namespace={place.other},rbac.workloadSecrets[0].names={{mlflow-risk}}"
    world, _, _ = await guarded("--set", given)
    others = [right for right in refusals(place) if right[1] == "secrets"]
    await check(world, place, [("get", "secrets", place.other, "mlflow-risk")], others)


async def test_refusals_are_real(guarded: Callable[..., Any], place: Place, kubectl: Callable[..., Any]) -> None:
    """Send rejected requests with the operator's own token.

    An access review does not send the request itself.
    """
    world, _, _ = await guarded()
    await world.resource()
    kubectl("-n", place.own, "create", "secret", "generic", "mlflow", "--from-literal=a=b")
    kubectl("-n", place.own, "create", "secret", "generic", "another", "--from-literal=a=b")
    me = ("-n", place.own, "--kubeconfig", os.environ["KUBECONFIG"])
    assert kubectl(*me, "get", "secret", "mlflow").code == 0
    for words in (
        ("get", "secret", "another"),
        ("get", "secrets"),
        ("run", "pod", "--image=example/other:1"),
        ("create", "clusterrolebinding", "more", "--clusterrole=cluster-admin",
         f"--serviceaccount={place.own}:sluicegate"),
        ("create", "token", "sluicegate"),
        ("delete", "namespace", place.other),
        ("patch", "mdep", "demo", "--type=merge", '-p={"spec":{"paused":true}}'),
        ("get", "mdep", "demo", "--as=admin"),
    ):  # fmt: skip
        answer = kubectl(*me, *words, check=False)
        assert answer.code != 0, words
        assert "forbidden" in answer.err.lower(), (words, answer.err)
    kubectl(
        *me, "patch", "mdep", "demo", "--subresource=status", "--type=merge", '-p={"spec":{"paused":true},"status":{}}'
    )
    resource = await world.client.get(kinds.MODEL_DEPLOYMENT, place.own, "demo")
    assert resource is not None
    assert "paused" not in resource["spec"], "a status write has changed the spec"
