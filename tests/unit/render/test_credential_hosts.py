"""The pods get the hosts that may receive their credentials."""

import pytest
from sluicegate.api.resource import decode
from sluicegate.config.settings import InvalidSettings, build
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.snapshot.revision_spec import intent_of
from sluicegate.render.pod import pod_template


def variables(**registry: object) -> dict[str, str]:
    """Return the environment variables of the container `fetch`."""
    settings = build([("file", {"registries": {"default": {"trackingUri": "http://mlflow", **registry}}})])
    resource = decode({"metadata": {"name": "a", "namespace": "b"}, "spec": {"model": {"uri": "https://store/m"}}})
    intent = intent_of(resource, ResolvedModel("https://store/m", "https://store/m"), "default")
    (fetch,) = pod_template(resource, intent, settings)["spec"]["initContainers"]
    return {variable["name"]: variable["value"] for variable in fetch["env"]}


def test_fetch_gets_the_hosts_of_its_registry() -> None:
    assert "SLUICEGATE_CREDENTIAL_HOSTS" not in variables()
    found = variables(credentialHosts=["store.example.com", "*.stores.example.com"])
    assert found["SLUICEGATE_CREDENTIAL_HOSTS"] == "store.example.com,*.stores.example.com"


@pytest.mark.parametrize("host", ["*", "https://store", "store:443", "a.*.b", "store/x", ""])
def test_refuses_what_is_no_host(host: str) -> None:
    with pytest.raises(InvalidSettings, match="credentialHosts"):
        variables(credentialHosts=[host])
