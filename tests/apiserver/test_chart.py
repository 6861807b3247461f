"""The Helm chart: lint, rendered manifests and rejected values.

The tests are in this folder because Helm is built for this CI step.
"""

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml
from sluicegate import __version__
from sluicegate.config.settings import build

from tests.golden.chart import CHART, cases, expected, helm, rendered, template
from tools.docsgen.chart_values import Values, schema
from tools.localcluster import ClusterError

CRD = CHART.parents[1] / "crds/sluicegate.dev_modeldeployments.yaml"


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name.partition(".")[0])
def test_chart_renders_as_reviewed_and_its_settings_are_settings(case: Path) -> None:
    assert rendered(case) == expected(case).read_text(), "if it is meant, run `make golden` and review the difference"
    (settings,) = [each for each in template("--values", case) if each["kind"] == "ConfigMap"]
    build([("chart", yaml.safe_load(settings["data"]["settings.yaml"]))])


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name.partition(".")[0])
def test_lint_has_no_warning(case: Path) -> None:
    said = helm("lint", CHART, "--strict", "--values", case)
    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said


def test_crd_is_the_generated_one_and_is_kept() -> None:
    (found,) = [each for each in template() if each["kind"] == "CustomResourceDefinition"]
    assert found["metadata"].pop("annotations")["helm.sh/resource-policy"] == "keep"
    assert found == yaml.safe_load(CRD.read_text())
    assert not [each for each in template("--set", "crd.install=false") if each["kind"] == found["kind"]]


def test_versions_are_the_operators() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_values_file_fits_its_schema_and_has_every_key_with_its_default() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft202012Validator(schema()).validate(values)
    defaults = json.loads(msgspec.json.encode(Values()))
    settings = values.pop("settings")
    assert settings["pods"] == defaults["settings"]["pods"]
    assert set(settings) == {
        "registries",
        "gateway",
        "runtimes",
        "dependencies",
        "notifications",
        "prometheus",
        "children",
        "pods",
        "tenants",
    }
    del defaults["settings"]
    assert values == defaults


REFUSED = {
    "a misspelt key": ("replica=3", "additional properties 'replica' not allowed"),
    "a misspelt setting": ("settings.registry.a.trackingUri=http://a", "additional properties 'registry' not allowed"),
    "a registry without address": (
        "settings.registries.a.secret=b",
        "'/settings/registries/a': missing property 'trackingUri'",
    ),
    "a webhook to register without its secret": (
        "settings.registries.a.trackingUri=http://a,settings.registries.a.registerWebhook.url=http://b",
        "settings.registries.a.registerWebhook requires webhookSecret",
    ),
    "credentials in an address": (
        "settings.registries.a.trackingUri=http://u:p@a",
        "'/settings/registries/a/trackingUri': 'http://u:p@a' does not match pattern",
    ),
    "a word for a number": ("settings.workers=many", "'/settings/workers': got string, want integer"),
    "no replica": ("replicas=0", "'/replicas': minimum: got 0, want 1"),
    "a level that is none": ("settings.logLevel=loud", "'/settings/logLevel': value must be one of 'debug'"),
    "what the chart decides": ("settings.leaderElection=false", "additional properties 'leaderElection' not allowed"),
    "all Secrets of a namespace": (
        "rbac.workloadSecrets[0].namespace=a",
        "'/rbac/workloadSecrets/0': missing property 'names'",
    ),
    "a gateway of no namespace": (
        "settings.gateway.parentRefs[0].name=public",
        "settings.gateway.parentRefs[0] (public) requires a namespace, because it applies",
    ),
}  # fmt: skip


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: value.replace(" ", "-"))
def test_wrong_values_are_refused_by_name(value: str) -> None:
    given, sentence = REFUSED[value]
    with pytest.raises(ClusterError) as refused:
        template("--set", given)
    assert sentence in str(refused.value)


def test_a_changed_setting_changes_the_pods_and_an_unchanged_one_does_not() -> None:
    def annotation(*args: str) -> str:
        (found,) = [each for each in template(*args) if each["kind"] == "Deployment"]
        return str(found["spec"]["template"]["metadata"]["annotations"]["sluicegate.dev/settings"])

    assert annotation() == annotation("--set", "resources.limits.memory=1Gi")
    assert annotation() != annotation("--set", "settings.workers=9")
    assert annotation() != annotation("--set", "watchNamespace=shop")
