"""What keeps a resource from serving: the gateway, the pods, the autoscaler or the model."""

from dataclasses import replace

import msgspec
import pytest
from sluicegate.api.reasons import Reason
from sluicegate.config.settings import GatewaySettings
from sluicegate.core.rollout.canary import canary_fields
from sluicegate.core.snapshot import parse_gateway
from sluicegate.core.snapshot.facts import Problem, Rival

from tests.support.fake_cluster import NAME, SETTINGS, Pod, World
from tests.unit.core.decide.test_lives import reasons

NO_METRICS = "unable to get metrics for resource cpu: no metrics returned from resource metrics API"


def blind(world: World, message: str = NO_METRICS) -> None:
    """Let the stable revision's HPA report from now on that it has no metrics."""
    hpa = world.of_kind("HorizontalPodAutoscaler")[0]
    since = world.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    active = {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": message}
    hpa["status"] = {"conditions": [{**active, "lastTransitionTime": since}]}


def test_missing_gateway() -> None:
    world = World().gateway()
    world.missing_gateway = True
    world.settle()
    assert reasons(world)["Ready"] == "False GatewayNotFound"
    assert reasons(world)["TrafficRouted"] == "False GatewayNotFound"
    assert reasons(world)["Stalled"] == "True GatewayNotFound"
    assert "Gateway shop/gate does not exist" in world.condition("Ready").message
    world.missing_gateway = False
    world.settle()
    assert reasons(world)["Ready"] == "True Serving"


def test_missing_gateway_api() -> None:
    world = World().gateway()
    world.gateway_api = False
    world.settle()
    assert ("HTTPRoute", NAME) not in world.objects
    assert reasons(world)["Ready"] == "False GatewayAPIMissing"
    assert reasons(world)["Available"] == "False GatewayAPIMissing"


def test_route_refused() -> None:
    world = World().gateway()
    world.refusal = "no listener lets the namespace in"
    world.settle()
    assert reasons(world)["Ready"] == "False RouteRefused"
    assert reasons(world)["Available"] == "False RouteRefused"
    assert "no listener lets the namespace in" in world.condition("TrafficRouted").message


def test_route_conflict() -> None:
    world = World().gateway()
    world.rival = Rival("shop/older", "/shop")
    world.settle()
    assert reasons(world)["Ready"] == "False RouteConflict"
    assert ("HTTPRoute", NAME) not in world.objects
    assert "/shop, which ModelDeployment shop/older claimed first" in world.condition("Ready").message


def test_route_conflict_keeps_the_route_with_the_old_path() -> None:
    world = World().gateway().settle()
    world.rival = Rival("shop/older", "/pay")
    world.edit(traffic={"gateway": {"parentRefs": [{"name": "gate"}], "pathPrefix": "/pay"}}).settle()
    assert reasons(world)["Ready"] == "False RouteConflict"
    assert reasons(world)["Available"] == "True Serving"
    assert parse_gateway.route(world.objects["HTTPRoute", NAME]).path_prefixes == ("/shop/churn",)


def test_a_route_with_the_path_of_another_resource_is_deleted() -> None:
    world = World().gateway().settle()
    world.rival, world.route_taken = Rival("shop/older", "/shop/churn"), True
    world.settle()
    assert ("HTTPRoute", NAME) not in world.objects
    world.rival, world.route_taken = None, False
    world.settle()
    assert reasons(world)["Ready"] == "True Serving"


@pytest.mark.parametrize(
    ("prefix", "allowed"),
    [(None, True), ("/shop", True), ("/shop/a", True), ("/shopping", False), ("/", False), ("/shop/%2e%2e/x", False)],
)
def test_tenants_are_confined_to_their_namespace(prefix: str | None, allowed: bool) -> None:
    gateway = {"parentRefs": [{"name": "gate"}], **({"pathPrefix": prefix} if prefix is not None else {})}
    world = World(traffic={"gateway": gateway}).settle()
    assert ("HTTPRoute", NAME) in world.objects
    world.settings = msgspec.structs.replace(SETTINGS, gateway=GatewaySettings(confine_to_namespace=True))
    world.settle()
    assert reasons(world)["Ready"] == ("True Serving" if allowed else "False PathNotAllowed")
    assert (("HTTPRoute", NAME) in world.objects) == allowed


@pytest.mark.parametrize(
    ("words", "reason", "remedy"),
    [
        ('pods "x" is forbidden: exceeded quota: small', "QuotaExceeded", "raise the quota"),
        (
            'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4',
            "QuotaExceeded",
            "raise the quota, lower spec.scaling, or remove",
        ),
        (
            'pods "x" is forbidden: exceeded quota: q, requested: limits.cpu=2,requests.memory=1Gi, used: '
            "limits.cpu=4, limited: limits.cpu=5",
            "QuotaExceeded",
            "lower spec.resources.limits.cpu and spec.resources.requests.memory",
        ),
        ('pods "x" is forbidden: violates PodSecurity "restricted"', "PodRefused", "spec.podTemplate"),
    ],
)
def test_pods_refused(words: str, reason: str, remedy: str) -> None:
    world = World().rest().serve(2)
    world.replica_failure[world.hash_of(2)] = words
    world.settle()
    assert reasons(world)["Ready"] == f"False {reason}"
    assert words in world.condition("Ready").message
    assert remedy in world.condition("Ready").message
    assert reasons(world)["Available"] == "True Serving"
    assert reasons(world)["Stalled"] == "False NotStalled"
    world.later(600).reconcile()
    assert reasons(world)["Stalled"] == f"True {reason}"
    assert words in world.condition("Stalled").message


def test_pods_refused_while_stable_serves_are_stalled_after_the_deadline() -> None:
    world = World().rest().edit(scaling={"replicas": 2})
    world.replica_failure[world.hash_of(1)] = "exceeded quota: small"
    for seconds, stalled in ((0, "False NotStalled"), (599, "False NotStalled"), (1, "True QuotaExceeded")):
        world.later(seconds).settle()
        assert reasons(world)["Stalled"] == stalled


def test_an_autoscaler_may_be_without_metrics_for_a_minute() -> None:
    world = World(scaling={"min": 1, "max": 3}).rest()
    blind(world)
    world.reconcile()
    assert reasons(world)["Ready"] == "True Serving"
    assert world.plan.recheck_after == 60
    world.later(59).reconcile()
    assert reasons(world)["Ready"] == "True Serving"
    world.later(world.plan.recheck_after or 0).reconcile()
    assert reasons(world)["Ready"] == "False AutoscalerWithoutMetrics"
    assert reasons(world)["Available"] == "True Serving"
    assert "metrics-server" in world.condition("Ready").message
    assert world.plan.recheck_after is None


def test_an_autoscaler_that_can_never_measure_is_told_at_once() -> None:
    world = World(scaling={"min": 1, "max": 3}).rest()
    for pod in list(world.pods.values()):
        world.pods[pod.name] = replace(pod, unrequested=frozenset({"cpu", "memory"}))
    blind(world, "the HPA says it in words of its own")
    world.reconcile()
    assert reasons(world)["Ready"] == "False AutoscalerWithoutMetrics"
    assert world.condition("Ready").message.endswith("own. To fix it, set spec.resources.requests.cpu.")


def test_missing_metrics_api_is_reported_at_once() -> None:
    world = World(scaling={"min": 1, "max": 3}).rest()
    world.metrics_api = False
    world.reconcile()
    assert reasons(world)["Ready"] == "False AutoscalerWithoutMetrics"
    assert "install metrics-server" in world.condition("Ready").message
    world.metrics_api = True
    world.reconcile()
    assert reasons(world)["Ready"] == "True Serving"


def test_fixed_replicas_need_no_metrics_api() -> None:
    world = World(scaling={"replicas": 2}).rest()
    world.metrics_api = False
    world.reconcile()
    assert reasons(world)["Ready"] == "True Serving"


def test_a_missing_request_of_a_sidecar_names_the_sidecar() -> None:
    world = World(scaling={"min": 1, "max": 3}).rest()
    for pod in list(world.pods.values()):
        missing = frozenset({("cpu", "istio-proxy")})
        world.pods[pod.name] = replace(pod, unrequested=frozenset({"cpu"}), unrequested_sidecars=missing)
    blind(world, "missing request for cpu in container istio-proxy of Pod churn-1")
    remedy = "To fix it, set the request for cpu of container istio-proxy."
    assert world.reconcile().condition("Ready").message.endswith(remedy)


def test_wording_of_the_autoscaler_decides_nothing() -> None:
    world = World(scaling={"min": 1, "max": 3}).rest()
    blind(world, "failed to get cpu utilization: missing request for cpu in container model of Pod churn-1")
    assert reasons(world.reconcile())["Ready"] == "True Serving"


@pytest.mark.parametrize("passes", [True, False])
def test_an_unresolved_model(passes: bool) -> None:
    world = World().rest()
    world.serve(2).model_problem = Problem("RegistryUnreachable", "No answer.", waits_for_user=not passes)
    world.settle()
    assert reasons(world)["ModelResolved"] == "False RegistryUnreachable"
    assert reasons(world)["Stalled"] == ("False NotStalled" if passes else "True RegistryUnreachable")
    assert reasons(world)["Reconciling"].startswith("True" if passes else "False")
    assert world.condition("Ready").message == "No answer. The previous revision keeps serving."
    assert world.status.model is not None
    assert world.status.model.version == "1"


def test_progress_deadline() -> None:
    world = World(rollout={"progressDeadline": "2m"}).rest().serve(2).reconcile().make_pods()
    assert world.plan.recheck_after == 120
    world.later(119).reconcile()
    assert reasons(world)["Ready"] == "False WaitingForPods"
    world.later(world.plan.recheck_after or 0).reconcile()
    assert reasons(world)["Ready"] == "False ProgressDeadlineExceeded"
    assert "spec.rollout.progressDeadline (2m)" in world.condition("Ready").message
    assert reasons(world)["Available"] == "True Serving"
    assert reasons(world)["Stalled"] == "True ProgressDeadlineExceeded"
    world.settle()
    assert reasons(world)["Ready"] == "True Serving", "late is not never"


def test_an_evicted_pod_that_has_been_replaced_is_no_problem_any_more() -> None:
    world = World().rest()
    evicted = Problem("Evicted", "Pod a was evicted.", waits_for_user=False)
    world.pods["a"] = Pod("a", world.hash_of(1), problem=evicted)
    world.reconcile()
    assert reasons(world)["Ready"] == "True Serving"
    for name in [pod for pod in world.pods if pod != "a"]:
        del world.pods[name]
    world.list_endpoints().reconcile()
    assert reasons(world)["Ready"] == "False Evicted"


def test_pods_of_one_revision_with_different_artifacts() -> None:
    world = World(scaling={"replicas": 2}).rest()
    for index, pod in enumerate(list(world.pods.values())):
        world.pods[pod.name] = Pod(pod.name, pod.revision, ready=True, digest=f"sha256:{index}")
    world.reconcile()
    assert reasons(world)["Ready"] == "False ArtifactsDiffer"
    assert reasons(world)["Available"] == "True Serving"


def test_a_pod_without_a_node_waits_for_the_user_after_the_deadline() -> None:
    world = World().rest().serve(2).reconcile().make_pods()
    world.fail(world.hash_of(2), Problem("Unschedulable", "No node fits.", waits_for_user=False)).reconcile()
    assert (reasons(world)["Ready"], reasons(world)["Stalled"]) == ("False Unschedulable", "False NotStalled")
    world.later(world.plan.recheck_after or 0).reconcile()
    assert reasons(world)["Stalled"] == "True Unschedulable"


def fetch_refused(world: World, version: int) -> None:
    text = "The model could not be fetched: 401. Correct the registry's podSecret, or the registry's trackingUri."
    world.fail(world.hash_of(version), Problem(Reason.MODEL_FETCH_FAILED, text))


def test_fetch_error_names_the_fields_of_an_inline_registry() -> None:
    world = World(model={"uri": "models:/churn/1", "inlineRegistry": {"trackingUri": "http://mlflow"}})
    world.step()
    world.make_pods()
    fetch_refused(world, 1)
    world.settle()
    message = world.condition("Ready").message
    assert "the Secret that spec.model.inlineRegistry.secretRef names" in message
    assert "spec.model.inlineRegistry.trackingUri" in message
    assert "podSecret" not in message


def test_fetch_error_names_the_secret_of_a_configured_registry() -> None:
    world = World()
    world.step()
    world.make_pods()
    fetch_refused(world, 1)
    world.settle()
    assert "the registry's podSecret" in world.condition("Ready").message


def test_messages_about_a_canary_name_its_own_fields() -> None:
    resource = World().canary(2, model={"uri": "models:/churn/2"}, resources={"requests": {"cpu": "2"}}).resource
    message = canary_fields(resource, "change spec.model.uri, spec.model.registry or spec.resources.requests.cpu")
    assert message == ("change spec.canary.model.uri, spec.model.registry or spec.canary.resources.requests.cpu"), (
        "the canary has the registry of the base"
    )
