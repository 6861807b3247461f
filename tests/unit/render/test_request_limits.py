"""A request that a pod accepted is answered: what the pod template grants it, and what status says of older pods."""

from typing import Any

import pytest
from sluicegate.api.resource import decode
from sluicegate.config.settings import RuntimeSettings, Settings
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.snapshot.request_timeout import request_timeout
from sluicegate.core.snapshot.revision_spec import intent_of
from sluicegate.render.pod import pod_template

from tests.support.fake_cluster import World


def pod(
    traffic: dict[str, Any], runtime: dict[str, Any] | None = None, settings: Settings | None = None
) -> tuple[int, list[str], int]:
    """Return the grace period, the server's arguments and the preStop sleep."""
    spec = {"model": {"uri": "s3://a/b"}, "traffic": traffic, "runtime": runtime or {}}
    resource = decode({"metadata": {"name": "a", "namespace": "b"}, "spec": spec})
    intent = intent_of(resource, ResolvedModel("s3://a/b", "s3://a/b"), None)
    template = pod_template(resource, intent, settings or Settings())["spec"]
    (container,) = template["containers"]
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    return template["terminationGracePeriodSeconds"], container.get("args") or [], sleep


def flag(arguments: list[str], name: str) -> float:
    return float(arguments[arguments.index(name) + 1])


@pytest.mark.parametrize(("traffic", "seconds"), [({}, 60), ({"timeout": "10m"}, 600), ({"timeout": "1500ms"}, 1.5)])
def test_limits_follow_the_request_timeout(traffic: dict[str, Any], seconds: float) -> None:
    grace, arguments, sleep = pod(traffic)
    assert flag(arguments, "--timeout") == seconds
    assert flag(arguments, "--grace") > seconds
    assert grace > sleep + flag(arguments, "--drain") + flag(arguments, "--grace")


@pytest.mark.parametrize("name", ["custom", "mlserver"])
def test_other_servers_get_the_grace_period_only(name: str) -> None:
    grace, arguments, sleep = pod({"timeout": "10m"}, {"name": name, "image": "x"})
    assert grace > sleep + 600
    assert arguments == []


def test_arguments_of_the_user_replace_the_operators() -> None:
    own = ["serve", "/mnt/model", "--port", "8080", "--timeout", "5"]
    assert pod({"timeout": "10m"}, {"args": own})[1] == own


def test_timeout_variable_of_the_user_has_precedence() -> None:
    """The flag would override the variable of MLflow's own server."""
    env = [{"name": "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "value": "300"}]
    arguments = pod({}, {"env": env})[1]
    assert "--timeout" not in arguments
    assert "--grace" not in arguments, "the server's default follows the variable"


def test_templates_of_the_platform_know_the_timeout() -> None:
    template = 'name: model\nargs: ["run", {{ timeout_seconds | string }}]'
    settings = Settings(runtimes={"own": RuntimeSettings(image="x", template=template)})
    assert pod({"timeout": "90s"}, {"name": "own"}, settings)[1] == ["run", "90"]


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (["serve", "--timeout", "60"], 60),
        (["--timeout=1.5"], 1.5),
        (["--timeout", "5", "--timeout", "7"], 7),
        (["--timeout"], None),
        (["--timeout", "soon"], None),
        (["--timeout", "inf"], None),
        ([1, None], None),
        (None, None),
    ],
)
def test_reads_the_limit_of_a_stored_template(arguments: list[Any] | None, seconds: float | None) -> None:
    containers = [{"name": "sidecar", "args": ["--timeout", "1"]}, {"name": "model", "args": arguments}]
    assert request_timeout({"spec": {"containers": containers}}) == seconds


def created_with(world: World, *arguments: str) -> dict[str, Any]:
    """Return the stored pod template of version 1, after adding arguments of the server to it."""
    record = world.objects["ControllerRevision", f"churn-{world.hash_of(1)}"]
    template: dict[str, Any] = record["data"]["template"]
    template["spec"]["containers"][0]["args"] = ["serve", *arguments]
    return template


@pytest.mark.parametrize("gateway", [False, True])
def test_status_names_pods_with_a_shorter_limit(gateway: bool) -> None:
    world = World().gateway(gateway).settle().rest()
    template = created_with(world, "--timeout", "60")
    world.edit(traffic={**world.spec.get("traffic", {}), "timeout": "10m"}).settle().rest()
    assert world.objects["Deployment", f"churn-{world.hash_of(1)}"]["spec"]["template"] == template
    message = world.condition("TrafficRouted").message
    assert "The stable revision's pods end a request after 60s, before spec.traffic.timeout (10m)." in message
    assert world.condition("Ready").status == "True"
    world.annotations["sluicegate.dev/roll"] = "1"
    world.settle().rest()
    assert "spec.traffic.timeout" not in world.condition("TrafficRouted").message


@pytest.mark.parametrize("limit", [("--timeout", "60"), ()])
def test_timeout_that_pods_keep_needs_no_message(limit: tuple[str, ...]) -> None:
    world = World().settle().rest()
    created_with(world, *limit)
    world.edit(traffic={"timeout": "10s"}).settle().rest()
    assert "spec.traffic.timeout" not in world.condition("TrafficRouted").message
