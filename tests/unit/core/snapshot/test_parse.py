"""Facts that are read from API objects."""

from typing import Any

import pytest
from sluicegate.core.snapshot import parse, parse_gateway
from sluicegate.core.snapshot.facts import RouteFacts
from sluicegate.core.snapshot.route_reports import with_controllers


def pod(*requests: dict[str, str]) -> dict[str, Any]:
    containers = [{"name": f"c{place}", "resources": {"requests": each}} for place, each in enumerate(requests)]
    return {"metadata": {"name": "churn-1", "namespace": "shop"}, "spec": {"containers": containers}}


@pytest.mark.parametrize(
    ("requests", "unrequested"),
    [
        ([{"cpu": "1", "memory": "1Gi"}], set()),
        ([{"memory": "1Gi"}], {"cpu"}),
        ([{}], {"cpu", "memory"}),
        ([{"cpu": "1", "memory": "1Gi"}, {"memory": "1Mi"}], {"cpu"}),
    ],
)
def test_a_pod_lacks_a_request_if_one_container_does(requests: list[dict[str, str]], unrequested: set[str]) -> None:
    assert parse.pod(pod(*requests)).unrequested == unrequested


@pytest.mark.parametrize(
    ("requests", "sidecars"),
    [
        ({"memory": "1Gi"}, {("memory", "istio-proxy")}),
        ({"cpu": "1", "memory": "1Gi"}, {("memory", "istio-proxy"), ("cpu", "istio-proxy")}),
    ],
)
def test_a_sidecar_lacks_a_request_that_the_model_has(requests: dict[str, str], sidecars: set[Any]) -> None:
    obj = pod(requests, {})
    for container, name in zip(obj["spec"]["containers"], ("model", "istio-proxy"), strict=True):
        container["name"] = name
    assert parse.pod(obj).unrequested == {"cpu", "memory"}
    assert parse.pod(obj).unrequested_sidecars == sidecars


def test_an_hpa_names_the_resources_it_scales_by_utilization() -> None:
    metrics = [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
        {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
        {"type": "Pods", "pods": {"metric": {"name": "requests"}}},
    ]
    active = {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": "no metrics"}
    facts = parse.autoscaler({"spec": {"metrics": metrics}, "status": {"conditions": [active]}})
    assert (facts.utilization, facts.inactive) == ({"cpu"}, "no metrics")


def test_pods_with_other_volume_claims_do_not_fit_in_each_others_place() -> None:
    def spec(*claims: str) -> dict[str, Any]:
        volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
        return {"containers": [], "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes]}

    assert parse.room(spec("a")) == parse.room(spec("a")) != parse.room(spec("b"))
    assert parse.room(spec()) == parse.room({"containers": []})


def accepted(ref: dict[str, Any], status: str = "True", generation: int = 2) -> dict[str, Any]:
    condition = {"status": status, "reason": "R", "message": "m", "observedGeneration": generation}
    return {"parentRef": ref, "conditions": [{"type": kind, **condition} for kind in ("Accepted", "ResolvedRefs")]}


def http_route(refs: list[dict[str, Any]], *entries: dict[str, Any]) -> RouteFacts:
    metadata = {"name": "churn", "namespace": "shop", "generation": 2}
    return parse_gateway.route(
        {"metadata": metadata, "spec": {"parentRefs": refs}, "status": {"parents": list(entries)}}
    )


def test_report_of_a_former_parent_does_not_count() -> None:
    facts = http_route([{"name": "new"}], accepted({"name": "old"}))
    assert (facts.accepted, facts.serving, facts.parents[0].serving) == (False, True, False)
    facts = http_route([{"name": "new"}], accepted({"name": "new"}), accepted({"name": "old"}, "False"))
    assert (facts.accepted, facts.refusal) == (True, None)


def test_parent_is_recognized_without_its_defaults() -> None:
    ref = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "a", "namespace": "shop"}
    assert http_route([ref], accepted({"name": "a"})).accepted


def test_parent_serves_while_its_gateway_is_behind() -> None:
    facts = http_route([{"name": "a"}], accepted({"name": "a"}, generation=1))
    assert (facts.accepted, facts.parents[0].serving) == (False, True)
    facts = http_route([{"name": "a", "sectionName": "http"}], accepted({"name": "a"}))
    assert (facts.accepted, facts.parents[0].serving) == (False, True), "no report on this listener yet"


def test_only_the_controller_of_the_gateway_class_accepts_a_route() -> None:
    """A controller may report on Gateways of other classes, or leave its reports behind when the class changes."""
    ref = {"name": "gate", "namespace": "infra"}

    def entry(controller: str, status: str) -> dict[str, Any]:
        about = {"status": status, "observedGeneration": 1, "reason": "R", "message": f"{controller} says {status}"}
        conditions = [{"type": "Accepted", **about}, {"type": "ResolvedRefs", **about}]
        return {"parentRef": ref, "controllerName": controller, "conditions": conditions}

    def seen(own: str, foreign: str, controllers: dict[tuple[str, str], str]) -> RouteFacts:
        metadata = {"name": "churn", "namespace": "shop", "generation": 1}
        status = {"parents": [entry("example.com/foreign", foreign), entry("example.com/own", own)]}
        route = parse_gateway.route({"metadata": metadata, "spec": {"parentRefs": [ref]}, "status": status})
        return with_controllers(route, controllers)

    own = {("infra", "gate"): "example.com/own"}
    refused = seen("False", "True", own)
    assert (refused.accepted, refused.serving, refused.parents[0].serving) == (False, False, False)
    assert "example.com/own says False" in (refused.refusal or "")
    accepted = seen("True", "False", own)
    assert (accepted.accepted, accepted.serving, accepted.refusal) == (True, True, None)
    assert seen("False", "True", {}).accepted, "the class cannot be read"
    neither = seen("True", "True", {("infra", "gate"): "example.com/third"})
    assert (neither.accepted, neither.serving, neither.parents[0].serving) == (False, False, False)


def test_gateway_class() -> None:
    listed = {"spec": {"controllerName": "example.com/gate"}, "status": {"supportedFeatures": [{"name": "A"}, "B"]}}
    facts = parse_gateway.gateway_class(listed)
    assert (facts.controller, facts.features) == ("example.com/gate", {"A", "B"})
    assert parse_gateway.gateway_class({}).controller == ""


def test_refusal_of_a_gateway_is_a_sentence() -> None:
    conditions = [
        {"type": "Accepted", "status": "False", "reason": "NoMatchingParent", "message": "No listeners match"}
    ]
    parents = [{"parentRef": {"name": "public"}, "controllerName": "a/b", "conditions": conditions}]
    route = parse_gateway.route(
        {"metadata": {"name": "r", "namespace": "n"}, "spec": {}, "status": {"parents": parents}}
    )
    assert (
        route.reports[0].acceptance == "Gateway public reports Accepted=False (NoMatchingParent): No listeners match."
    )
