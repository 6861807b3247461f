"""Facts that are read from API objects."""

from typing import Any

import pytest
from sluicegate.core.snapshot import parse


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


def http_route(refs: list[dict[str, Any]], *entries: dict[str, Any]) -> parse.RouteFacts:
    metadata = {"name": "churn", "namespace": "shop", "generation": 2}
    return parse.route({"metadata": metadata, "spec": {"parentRefs": refs}, "status": {"parents": list(entries)}})


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
