"""Writes that a real API server does not accept: a dead admission webhook, and a full quota."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.apiserver.conftest import Kubectl
from tests.apiserver.testbed import SECOND, World

pytestmark = pytest.mark.usefixtures("crd")

SECONDS = 10.0
"""Within this time, status must name a refusal."""


@pytest.fixture
def dead_webhook(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """Yield the name of a webhook on Deployments that does not answer."""
    name = f"dead-{namespace}"
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "resources": ["deployments"],
        "operations": ["CREATE", "UPDATE"],
    }
    webhook = {
        "name": "dead.ops.example",
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": 2,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"namespace": namespace, "name": "nowhere", "path": "/"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [rule],
    }
    api = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    kubectl("apply", "-f", "-", input={**api, "metadata": {"name": name}, "webhooks": [webhook]})
    yield name
    kubectl("delete", "validatingwebhookconfiguration", name, "--ignore-not-found")


async def until_refused(world: World, reason: str = "ApplyRefused", name: str = "demo") -> str:
    """Wait until Ready has this reason, and return its message."""
    message = ""

    async def refused() -> bool:
        nonlocal message
        for condition in (await world.status(name)).get("conditions") or ():
            if condition["type"] == "Ready" and condition["reason"] == reason:
                message = condition["message"]
        return bool(message)

    await world.until(refused, SECONDS)
    return message


async def test_a_dead_webhook_is_in_status_and_holds_back_nothing_else(world: World, dead_webhook: str) -> None:
    async with world.operator():
        await world.resource()
        message = await until_refused(world)
        [entry] = (await world.status())["revisions"]
        assert f"Deployment {entry['name']}: " in message
        assert 'failed calling webhook "dead.ops.example"' in message
        assert (await world.condition("Stalled"))[0] == "False"
        assert (await world.condition("Reconciling"))[0] == "True"
        written = {kind for _, kind in world.writes}
        assert {"ControllerRevision", "Service", "PodDisruptionBudget"} <= written
        world.kubectl("delete", "validatingwebhookconfiguration", dead_webhook)
        await world.until_serving()


@pytest.fixture
def policy(kubectl: Kubectl, namespace: str) -> Iterator[None]:
    """Let a ValidatingAdmissionPolicy deny every Deployment, with the status Forbidden."""
    name = f"cost-{namespace}"
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE"]}
    spec: dict[str, Any] = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
        "validations": [{"expression": "false", "message": "no cost centre", "reason": "Forbidden"}],
    }
    api = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    binding = {"policyName": name, "validationActions": ["Deny"]}
    kubectl("apply", "-f", "-", input={**api, "kind": "ValidatingAdmissionPolicy", "spec": spec})
    kubectl("apply", "-f", "-", input={**api, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding})
    deadline = time.monotonic() + 60  # The API server applies a new policy after a few seconds.
    probe = ("-n", namespace, "create", "deployment", "probe", "--image=example/probe:1", "--dry-run=server")
    while kubectl(*probe, check=False).code == 0:
        assert time.monotonic() < deadline, "the policy has no effect"
        time.sleep(0.2)
    yield
    kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name, "--ignore-not-found")


@pytest.mark.usefixtures("policy")
async def test_a_policy_that_forbids_a_child_is_stalled_at_once(world: World) -> None:
    async with world.operator():
        await world.resource()
        assert "no cost centre" in await until_refused(world)
        assert await world.condition("Stalled") == ("True", "ApplyRefused")


async def test_a_lower_history_limit_makes_room_in_a_full_quota(world: World) -> None:
    rollout = {"scaleDownDelay": "1s", "historyLimit": 2}
    third, fourth = "image:///opt/model-3", "image:///opt/model-4"
    async with world.operator():
        world.kubectl("-n", world.namespace, "create", "quota", "q", "--hard=count/deployments.apps=3")
        for uri in ("image:///opt/model-1", SECOND, third):
            await world.resource(uri=uri, rollout=rollout)
            await world.until_serving(uri)
        await world.resource(uri=fourth, rollout=rollout)
        assert "exceeded quota: q" in await until_refused(world)
        assert await world.condition("Available") == ("True", "Serving")
        assert await world.condition("Stalled") == ("False", "NotStalled")
        started = time.monotonic()
        await world.resource(uri=fourth, rollout={**rollout, "historyLimit": 0})
        await world.until_serving(fourth)
        assert time.monotonic() - started < 30
