import pytest
from sluicegate.api import names
from sluicegate.kube import kinds


def test_paths() -> None:
    assert kinds.POD.path() == "/api/v1/pods"
    assert kinds.POD.path("ns") == "/api/v1/namespaces/ns/pods"
    assert kinds.POD.path("ns", "p", "log") == "/api/v1/namespaces/ns/pods/p/log"
    assert kinds.DEPLOYMENT.path("ns", "d") == "/apis/apps/v1/namespaces/ns/deployments/d"
    assert kinds.NAMESPACE.path(None, "ns") == "/api/v1/namespaces/ns"
    assert kinds.GATEWAY_CLASS.path("ignored", "c") == "/apis/gateway.networking.k8s.io/v1/gatewayclasses/c"


def test_names_cannot_leave_their_segment() -> None:
    assert kinds.POD.path("../x", "a/b?c") == "/api/v1/namespaces/..%2Fx/pods/a%2Fb%3Fc"


def test_paths_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="needs a namespace"):
        kinds.POD.path(None, "p")
    with pytest.raises(ValueError, match="needs a name"):
        kinds.POD.path("ns", None, "log")


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.kind)
def test_lookup_finds_each(kind: kinds.Kind) -> None:
    assert kinds.by_api(kind.api_version, kind.kind) is kind


def test_lookup_of_a_stranger() -> None:
    with pytest.raises(KeyError, match="apps/v1beta1 Deployment"):
        kinds.by_api("apps/v1beta1", "Deployment")


def test_the_api_has_one_name() -> None:
    kind = kinds.MODEL_DEPLOYMENT
    assert (kind.api_version, kind.kind, kind.plural) == (names.API_VERSION, names.KIND, names.PLURAL)
