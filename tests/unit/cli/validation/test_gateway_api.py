"""The Gateway API's rules for HTTPRoutes, offline, and what we render by them."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from sluicegate.api.resource import decode
from sluicegate.cli.validation import gateway_api
from sluicegate.cli.validation.rules import route

from tests.golden import HERE

GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public", "namespace": "gateways"}
GOLDEN = yaml.safe_load_all((HERE / "expected/gateway.yaml").read_text())
[ROUTE] = [document for document in GOLDEN if document["kind"] == "HTTPRoute"]


def changed(change: Callable[[dict[str, Any]], Any]) -> list[str]:
    """Return the fields that the API server would refuse after a change of the spec."""
    document = copy.deepcopy(ROUTE)
    change(document["spec"])
    return [problem.field for problem in gateway_api.problems(document)]


def path(value: str) -> Callable[[dict[str, Any]], Any]:
    return lambda spec: spec["rules"][0]["matches"][0]["path"].update(value=value)


def parents(*refs: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda spec: spec.update(parentRefs=[{**GATEWAY, **ref} for ref in refs])


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "two matches with a prefix that is replaced": (
        lambda spec: spec["rules"][0]["matches"].append(spec["rules"][0]["matches"][0]),
        "spec.rules[0]",
    ),
    "an escaped slash": (path("/a%2Fb"), "spec.rules[0].matches[0].path"),
    "half an escape": (path("/a%2"), "spec.rules[0].matches[0].path"),
    "17 rules": (lambda spec: spec.update(rules=17 * spec["rules"]), "spec.rules"),
    "17 hostnames": (lambda spec: spec.update(hostnames=[f"a{n}.example.com" for n in range(17)]), "spec.hostnames"),
    "one Gateway twice": (parents({}, {}), "spec.parentRefs"),
    "a Gateway and its listener": (parents({}, {"sectionName": "a"}), "spec.parentRefs"),
    "two ports of a Gateway": (parents({"port": 80}, {"port": 81}), "spec.parentRefs"),
    "a field that we never render": (
        lambda spec: spec["rules"][0].update(sessionPersistence={}),
        "spec.rules[0].sessionPersistence",
    ),
    "a fraction in a timeout": (
        lambda spec: spec["rules"][0]["timeouts"].update(request="1.5m"),
        "spec.rules[0].timeouts.request",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    change, field = REFUSED[case]
    assert changed(change) == [field]


def test_accepts_gateways_that_share_a_name() -> None:
    assert changed(parents({"namespace": "a"}, {"namespace": "b"})) == []


def test_accepts_two_listeners_of_a_gateway() -> None:
    assert changed(parents({"sectionName": "a"}, {"sectionName": "b"})) == []


def test_check_covers_each_step_and_the_platforms_gateway() -> None:
    matches = [{"header": {"name": f"x-{number}", "value": "a"}} for number in range(7)]
    step = {"weight": 1, "match": matches, "mirror": {"percent": 5}}
    spec = {"model": {"uri": "models:/churn/1"}, "rollout": {"steps": [step, {"weight": 100}]}}
    assert list(route(decode({"metadata": {"name": "m", "namespace": "shop"}, "spec": spec}))) == []


def test_check_finds_what_only_the_namespace_tells() -> None:
    refs = [{"name": "public"}, {"name": "public", "namespace": "shop"}]
    spec = {"model": {"uri": "models:/churn/1"}, "traffic": {"gateway": {"parentRefs": refs}}}
    [problem] = route(decode({"metadata": {"name": "m", "namespace": "shop"}, "spec": spec}))
    assert "spec.parentRefs: sectionName must be unique" in problem.message
