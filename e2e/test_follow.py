"""The operator follows the registry.

When an alias or a stage moves in MLflow, the operator moves the traffic. No user touches the resource.
"""

import contextlib
import re
import secrets
import time
import urllib.error
import urllib.request

import pytest

from e2e.support.kube import wait_until
from e2e.support.load import predict
from e2e.support.registry import MODEL
from e2e.support.watch import Watch


@pytest.fixture
def alias(registry, workspace):
    """Yield an alias of the test's own that points to version 1."""
    name = workspace.namespace
    registry.set_alias(name, 1)
    yield name
    with contextlib.suppress(AssertionError):
        registry.delete_alias(name)


@pytest.fixture
def shop(workspace, alias):
    """Serve the version that the alias points to."""
    workspace.apply("shop", model=f"models:/{MODEL}@{alias}")
    workspace.wait_ready("shop")
    return workspace


def intent(space):
    """Return what users own of the resource. The operator must leave it unchanged."""
    resource = space.mdep("shop")
    return resource["spec"], resource["metadata"]["generation"], resource["metadata"].get("annotations")


def moved(steady, move, version):
    """Move an alias or a stage, and measure how long the clients take to follow.

    Returns:
        Seconds until the first client and until the last client get responses from the version.
    """
    began = time.monotonic()
    move()
    wait_until("an answer of the new version", lambda: any(lane.order[-1][1] == version for lane in steady.lanes), 90)
    first = time.monotonic() - began
    wait_until("every client to be answered by it", lambda: steady.settled_on(version), 60)
    return first, time.monotonic() - began


def test_alias_moves_there_and_back_under_load_and_the_spec_stays(shop, registry, alias, load, kube):
    before = intent(shop)
    with load("shop", rate=15) as steady, Watch(kube, "mdep", shop.namespace) as seen:
        wait_until("some answers", lambda: steady.settled_on(1))
        times = moved(steady, lambda: registry.set_alias(alias, 2), 2)
        print(f"alias moved: first answer after {times[0]:.1f} s, every client after {times[1]:.1f} s")
        shop.wait_ready("shop")
        times = moved(steady, lambda: registry.set_alias(alias, 1), 1)
        print(f"alias moved back: first answer after {times[0]:.1f} s, every client after {times[1]:.1f} s")
    steady.check(1, 2, 1)
    assert intent(shop) == before
    versions = [each.obj["status"]["model"]["version"] for each in seen.of("shop")]
    assert [one for one, next_ in zip(versions, [*versions[1:], None], strict=True) if one != next_] == ["1", "2", "1"]
    messages = [event["message"] for event in shop.list("event") if event.get("reason") == "ModelChanged"]
    assert {each.partition(" now resolves to ")[2] for each in messages} == {
        "version 2 instead of 1.",
        "version 1 instead of 2.",
    }


WEBHOOKS = "/api/v1/namespaces/sluicegate-system/secrets"


@pytest.fixture(scope="module")
def webhook(kube, registry):
    """Yield the URL at which the operator receives webhooks.

    The operator creates a webhook subscription in MLflow once it has a secret for it.
    """
    secret = {"metadata": {"name": "mlflow-webhooks"}, "stringData": {"secret": secrets.token_hex(16)}}
    kube.call("POST", WEBHOOKS, secret)

    def made():
        hooks = registry.call("GET", "webhooks").get("webhooks", [])
        return next((hook for hook in hooks if hook["name"] == "sluicegate.e2e"), None)

    webhook = wait_until("the operator to make its webhook", made, 90)
    service = kube.get("service", "sluicegate-webhooks", "sluicegate-system")
    yield f"http://{service['spec']['clusterIP']}/webhooks/default"
    kube.call("DELETE", f"{WEBHOOKS}/mlflow-webhooks")
    registry.call("DELETE", f"webhooks/{webhook['webhook_id']}")


def counted(operator, outcome):
    """Return the number of deliveries that the leading operator has counted."""
    text = operator.metrics(operator.wait_leading())
    match = re.search(rf'sluicegate_webhooks_total{{outcome="{outcome}",registry="default"}} (\S+)', text)
    return float(match.group(1)) if match else 0.0


@pytest.mark.usefixtures("webhook")
def test_a_webhook_brings_the_new_version_at_once(shop, registry, alias, load, operator):
    before = counted(operator, "accepted")
    with load("shop", rate=15) as steady:
        wait_until("some answers", lambda: steady.settled_on(1))
        times = moved(steady, lambda: registry.set_alias(alias, 2), 2)
        print(f"alias moved, by webhook: first answer after {times[0]:.1f} s, every client after {times[1]:.1f} s")
    steady.check(1, 2)

    def told():  # set it again, because one delivery in sixteen reaches the standby at each of MLflow's attempts
        registry.set_alias(alias, 2)
        return counted(operator, "accepted") > before

    wait_until("a webhook to be counted", told, 20)


def test_a_forged_webhook_is_refused_and_counted(webhook, operator):
    def refused():
        forged = urllib.request.Request(webhook, b"{}", {"X-MLflow-Signature": "v1,AAAA"}, method="POST")
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(forged, timeout=5)
        answer.value.close()
        return answer.value.code == 401  # the standby returns 503

    wait_until("a forged one to be refused", refused, 20)
    assert counted(operator, "bad_signature") >= 1


def test_stage_is_followed_too(workspace, registry, load):
    registry.move_stage(1, "Staging")
    try:
        workspace.apply("shop", model=f"models:/{MODEL}/Staging")
        workspace.wait_ready("shop")
        with load("shop", rate=15) as steady:
            wait_until("some answers", lambda: steady.settled_on(1))
            moved(steady, lambda: registry.move_stage(2, "Staging"), 2)
        steady.check(1, 2)
    finally:
        registry.move_stage(1, "Production")  # the stage that the training set
        registry.move_stage(2, "None")


def test_alias_that_is_gone_leaves_what_serves_and_says_so(shop, registry, alias):
    registry.delete_alias(alias)
    condition = shop.wait_condition("shop", "Ready", "False", "AliasNotFound", timeout=40)
    assert alias in condition["message"]
    assert shop.condition("shop", "Available")["status"] == "True"
    assert predict(shop.urls("shop")["gateway"]) == 1
    registry.set_alias(alias, 1)
    shop.wait_condition("shop", "Ready", "True", timeout=40)


def test_a_version_that_is_deleted_leaves_what_serves_and_says_so_and_its_age_is_a_metric(
    workspace, registry, operator
):
    asked = {"name": MODEL, "source": f"models:/{MODEL}/1"}
    made = registry.call("POST", "model-versions/create", asked)["model_version"]
    about = {"name": MODEL, "version": made["version"]}
    try:
        workspace.apply("shop", model=f"models:/{MODEL}/{made['version']}")
        workspace.wait_ready("shop")
        age = rf'sluicegate_served_version_age_seconds{{name="shop",namespace="{workspace.namespace}"}} (\S+)'
        found = re.search(age, operator.metrics(operator.wait_leading()))
        assert found is not None
        assert 0 < float(found.group(1)) < 600
    finally:
        registry.call("DELETE", "model-versions/delete", about)
    found = workspace.wait_condition("shop", "Ready", "False", "VersionNotFound", timeout=90)
    assert f"has no version {made['version']}" in found["message"]
    assert workspace.condition("shop", "Available")["status"] == "True"
    assert predict(workspace.urls("shop")["gateway"]) == 1


def test_a_version_that_is_served_is_tagged_with_who_serves_it_and_loses_the_tag_afterwards(shop, registry, kube):
    mine = f"{shop.namespace}/shop"

    def tagged():
        tags = registry.call("GET", f"model-versions/get?name={MODEL}&version=1")["model_version"].get("tags", [])
        return any(tag["key"] == "sluicegate.dev/served-by.e2e" and mine in tag["value"] for tag in tags)

    wait_until("the tag of the served version", tagged, 90)
    kube.delete("mdep", "shop", shop.namespace)
    wait_until("the tag to go", lambda: not tagged(), 150)
