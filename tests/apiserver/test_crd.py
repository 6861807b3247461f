"""The CRD on a real API server: valid objects, errors and kubectl output.

For errors, the tests check the messages too.
"""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from sluicegate.api.schema import schema_of
from sluicegate.api.spec import ModelDeploymentSpec
from sluicegate.api.status import ModelDeploymentStatus
from sluicegate.cli.validation.documents import parse
from sluicegate.cli.validation.field_problems import validate

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))
_TABLE = runpy.run_path(str(REPOSITORY / "tests/support/spec_cases.py"))
WRONG, RIGHT = _TABLE["WRONG"], _TABLE["RIGHT"]

pytestmark = pytest.mark.usefixtures("crd")


def titles(cases: list[Any]) -> list[str]:
    return [case.title for case in cases]


def test_it_is_established(kubectl: Any) -> None:
    conditions = json.loads(kubectl("get", "crd", "modeldeployments.sluicegate.dev", "-o", "json").out)["status"][
        "conditions"
    ]
    assert {"NamesAccepted", "Established"} <= {
        condition["type"] for condition in conditions if condition["status"] == "True"
    }
    assert not [condition for condition in conditions if condition["type"] == "NonStructuralSchema"]


def test_client_side_apply_can_hold_it(crd: Path) -> None:
    assert len(json.dumps(yaml.safe_load(crd.read_text()))) < 262144


def test_the_table_is_large() -> None:
    assert len(WRONG) >= 40


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_apply(kubectl: Any, namespace: str, example: Path) -> None:
    documents = [each for each in yaml.safe_load_all(example.read_text()) if each["kind"] == "ModelDeployment"]
    for document in documents:
        document["metadata"]["namespace"] = namespace
        kubectl("apply", "-f", "-", input=document)
        stored = json.loads(kubectl("-n", namespace, "get", "mdep", document["metadata"]["name"], "-o", "json").out)
        assert stored["spec"] == document["spec"], "the API server must neither drop nor add anything"


@pytest.mark.parametrize("case", WRONG, ids=titles(WRONG))
def test_wrong_input_is_refused_by_name(kubectl: Any, case: Any) -> None:
    answer = kubectl("apply", "--dry-run=server", *case.options, "-f", "-", input=case.document, check=False)
    assert answer.code != 0, f"accepted: {answer.out}"
    assert case.field in answer.err and case.says in answer.err, answer.err
    assert validate(parse(json.dumps(case.document), "table")), "sluicegate validate accepts it"


@pytest.mark.parametrize("case", RIGHT, ids=titles(RIGHT))
def test_unusual_input_is_accepted(kubectl: Any, case: Any) -> None:
    kubectl("apply", "--dry-run=server", "-f", "-", input=case.document)
    assert not validate(parse(json.dumps(case.document), "table"))


def _objects(schema: dict[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    schema = schema.get("items", schema)
    found = [(path, schema["properties"])] if "properties" in schema else []
    for name, inner in schema.get("properties", {}).items():
        found += _objects(inner, f"{path}.{name}")
    return found


def test_explain_describes_every_field(kubectl: Any) -> None:
    everything = kubectl("explain", "mdep", "--recursive").out
    assert "no description" not in everything
    for root, kind in (("mdep.spec", ModelDeploymentSpec), ("mdep.status", ModelDeploymentStatus)):
        for path, fields in _objects(schema_of(kind), root):
            out = kubectl("explain", path).out
            assert "no description" not in out, path
            told = " ".join(out.split())
            for name, schema in fields.items():
                assert " ".join(schema["description"].split()) in told, f"{path}.{name}"


def test_explain_tells_units_and_defaults(kubectl: Any) -> None:
    told = " ".join(kubectl("explain", "mdep.spec.rollout").out.split())
    assert "such as 10m" in told and "Default: 10m." in told and "0 to 50. Default: 5." in told
    assert "Percent of the requests" in kubectl("explain", "mdep.spec.canary.weight").out


@pytest.fixture
def applied(kubectl: Any, namespace: str) -> dict[str, Any]:
    document = {
        "apiVersion": "sluicegate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m", "namespace": namespace},
        "spec": {"model": {"uri": "models:/churn/1"}},
    }
    kubectl("apply", "-f", "-", input=document)
    return document


def test_scale(kubectl: Any, namespace: str, applied: dict[str, Any]) -> None:
    kubectl("-n", namespace, "scale", "mdep/m", "--replicas=3")
    spec = json.loads(kubectl("-n", namespace, "get", "mdep", "m", "-o", "json").out)["spec"]
    assert spec["scaling"] == {"replicas": 3}


def test_scale_reads_status(kubectl: Any, namespace: str, applied: dict[str, Any]) -> None:
    kubectl("-n", namespace, "scale", "mdep/m", "--replicas=3")
    status = {"status": {"replicas": 2, "selector": "a=b"}}
    kubectl("-n", namespace, "patch", "mdep", "m", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    scale = json.loads(kubectl("-n", namespace, "get", "mdep", "m", "--subresource=scale", "-o", "json").out)
    assert (scale["spec"], scale["status"]) == ({"replicas": 3}, {"replicas": 2, "selector": "a=b"})


def test_an_autoscaled_model_cannot_be_scaled_by_hand(kubectl: Any, namespace: str, applied: dict[str, Any]) -> None:
    applied["spec"]["scaling"] = {"max": 3}
    kubectl("apply", "-f", "-", input=applied)
    answer = kubectl("-n", namespace, "scale", "mdep/m", "--replicas=3", check=False)
    assert answer.code != 0 and "set replicas" in answer.err


def revision(role: str, version: str) -> dict[str, Any]:
    counts = {"weight": 0, "replicas": 0, "readyReplicas": 0}
    return {"name": f"m-{version}", "revision": version, "role": role, "version": version, **counts}


def test_columns(kubectl: Any, namespace: str, applied: dict[str, Any]) -> None:
    status = {
        "observedGeneration": 1,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Serving"}],
        "model": {"uri": "models:/churn/1", "version": "2"},
        "revisions": [revision("Failed", "2"), revision("Stable", "1")],
        "canary": "10%",
        "replicas": 2,
        "url": "http://g/default/m",
    }
    patch = json.dumps({"status": status})
    kubectl("-n", namespace, "patch", "mdep", "m", "--subresource=status", "--type=merge", "-p", patch)
    head, row = (re.split(r"\s{2,}", line.strip()) for line in kubectl("-n", namespace, "get", "mdep").out.splitlines())
    assert head == ["NAME", "READY", "STATUS", "MODEL", "VERSION", "CANARY", "REPLICAS", "URL", "AGE"]
    assert row[:-1] == ["m", "True", "Serving", "models:/churn/1", "1", "10%", "2", "http://g/default/m"]
    assert "m" in kubectl("-n", namespace, "get", "sluicegate").out, "the category"
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "mdep/m", "--timeout=5s")


def test_nothing_is_defaulted(kubectl: Any, namespace: str, applied: dict[str, Any]) -> None:
    assert json.loads(kubectl("-n", namespace, "get", "mdep", "m", "-o", "json").out)["spec"] == applied["spec"]


def test_two_managers_keep_their_own_environment(kubectl: Any, namespace: str, applied: dict[str, Any]) -> None:
    for manager, name in (("one", "A"), ("two", "B")):
        document = {**applied, "spec": {**applied["spec"], "runtime": {"env": [{"name": name, "value": "x"}]}}}
        kubectl("apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", "-f", "-", input=document)
    spec = json.loads(kubectl("-n", namespace, "get", "mdep", "m", "-o", "json").out)["spec"]
    assert {each["name"] for each in spec["runtime"]["env"]} == {"A", "B"}
