"""A strict platform: its policies, any user ID, a NetworkPolicy, and metrics that need a token.

`examples/platform` has the policies, and the values of the chart that meet them.
"""

import urllib.error
import urllib.request

import pytest

from e2e.support.kube import wait_until
from e2e.support.load import predict
from e2e.support.operator import NAMESPACE
from tools.demo import install

PLATFORM = install.REPOSITORY / "examples/platform"
ANY_USER = ("podSecurityContext", "settings.pods.securityContext")
"""Values for user IDs that OpenShift's admission sets in every pod."""
STATEMENTS = (
    *(f"{value}.{field}=1000680000" for value in ANY_USER for field in ("runAsUser", "fsGroup")),
    *(f"{value}.runAsGroup=0" for value in ANY_USER),
    "settings.metricsAuthentication=true",
    "networkPolicy.enabled=true",
)


@pytest.fixture
def strict(workspace):
    """Apply the policies to the test's namespace, and wait until the quota counts."""
    cluster, namespace = workspace.cluster, workspace.namespace
    cluster.kubectl("label", "namespace", namespace, "policies=strict")
    cluster.kubectl("-n", namespace, "apply", "-f", str(PLATFORM / "policies.yaml"))
    wait_until(
        "the quota to count", lambda: (workspace.get("resourcequota", "strict") or {}).get("status", {}).get("used")
    )
    yield
    cluster.kubectl("-n", namespace, "delete", "-f", str(PLATFORM / "policies.yaml"))


def test_settings_alone_serve_a_model_on_a_strict_platform(cluster, helm, operator, workspace, strict):
    values = [word for statement in STATEMENTS for word in ("--set", statement)]
    values[:0] = ["--values", str(PLATFORM / "values.yaml")]
    helm("upgrade", *install.release(cluster), *values, "--wait")

    limits = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "50m"}}
    metadata = {"name": "shop", "labels": {"team": "risk"}}
    model = {"uri": "models:/recommendation-engine/1"}
    workspace.apply({"metadata": metadata, "spec": {"model": model, "resources": limits}})
    workspace.wait_ready("shop")
    assert predict(workspace.urls("shop")["gateway"]) == 1
    [pod] = workspace.pods("shop")
    assert pod["spec"]["securityContext"]["runAsUser"] == 1000680000
    assert pod["metadata"]["labels"]["team"] == "risk"
    assert cluster.kubectl("-n", NAMESPACE, "get", "networkpolicy", "sluicegate", "-o", "name")

    pod = operator.ready_pods()[-1]
    assert pod["spec"]["securityContext"]["runAsUser"] == 1000680000
    with pytest.raises(urllib.error.HTTPError, match="401"):
        metrics(pod, "")
    bind = ("create", "clusterrolebinding", "reader", f"--serviceaccount={workspace.namespace}:default")
    cluster.kubectl(*bind, f"--clusterrole={NAMESPACE}:sluicegate-metrics")
    token = cluster.kubectl("-n", workspace.namespace, "create", "token", "default").strip()
    try:
        assert "sluicegate_leading" in metrics(pod, token)
    finally:
        cluster.kubectl("delete", "clusterrolebinding", "reader")


def metrics(pod, token):
    """Return the response of the operator's /metrics to a token."""
    request = urllib.request.Request(f"http://{pod['status']['podIP']}:8080/metrics")
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read().decode()
