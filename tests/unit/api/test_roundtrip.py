"""Reading and writing a spec.

Nothing is lost, nothing is added, and the CRD accepts what the types write.
"""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sluicegate.api import duration
from sluicegate.api.crd import crd
from sluicegate.api.fields import DURATION_PATTERN
from sluicegate.api.model import MODEL_URI_PATTERN
from sluicegate.api.resource import InvalidResource, decode
from sluicegate.api.schema import schema_of
from sluicegate.api.spec import ModelDeploymentSpec
from sluicegate.api.status import Phase

URIS = st.sampled_from(
    [
        "models:/a@b",
        "models:/a/3",
        "models:/m-1",
        "runs:/r/p",
        "s3://b/p",
        "pvc://c/d",
        "gs://b/x",
        "az://c/x",
        "wasbs://c@a.blob.x/y",
        "https://h/x.zip",
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def values(schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """Return a strategy for values that the structural `schema` accepts.

    It ignores the CEL rules, except those for the format of strings.
    """
    if "x-kubernetes-int-or-string" in schema:
        return st.integers(0, 100) | st.sampled_from(["500m", "1.5Gi"])
    if "x-kubernetes-preserve-unknown-fields" in schema:
        return st.dictionaries(st.text(max_size=5), ANYTHING, max_size=3)
    match schema["type"]:
        case "object" if "properties" in schema:
            required = {key: values(schema["properties"][key], key) for key in schema.get("required", [])}
            others = {key: values(node, key) for key, node in schema["properties"].items() if key not in required}
            return st.fixed_dictionaries(required, optional=others)
        case "object":
            return st.dictionaries(st.text(max_size=5), values(schema["additionalProperties"]), max_size=2)
        case "array":
            return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=2).map(tuple)
        case "integer":
            return st.integers(schema.get("minimum", 0), schema.get("maximum", 1000))
        case "number":
            return st.floats(0.001, 1, allow_nan=False)
        case "boolean":
            return st.booleans()
    return _strings(schema, name)


def _strings(schema: dict[str, Any], name: str) -> st.SearchStrategy[str]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    rules = [rule["rule"] for rule in schema.get("x-kubernetes-validations", [])]
    if not rules:
        return st.text(min_size=schema.get("minLength", 0), max_size=6)
    if name == "uri":
        return URIS
    if "[0-9]{1,4}d" in rules[0]:
        return st.sampled_from(["90s", "1h30m", "7d", "250ms"])
    known = {"trackingUri": "http://a", "address": "http://a", "pathPrefix": "/a", "resource": "nvidia.com/gpu"}
    return st.just(known.get(name, "a"))


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(values(schema_of(ModelDeploymentSpec)))
def test_what_is_read_is_written_again(raw: dict[str, Any]) -> None:
    spec = msgspec.convert(raw, ModelDeploymentSpec)
    written = msgspec.to_builtins(spec)
    assert msgspec.convert(written, ModelDeploymentSpec) == spec
    assert msgspec.json.decode(msgspec.json.encode(spec), type=ModelDeploymentSpec) == spec


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(values(schema_of(ModelDeploymentSpec)))
def test_writing_adds_no_field(raw: dict[str, Any]) -> None:
    def below(written: Any, given: Any) -> bool:
        if isinstance(written, dict):
            return all(key in given and below(value, given[key]) for key, value in written.items())
        return True

    assert below(msgspec.to_builtins(msgspec.convert(raw, ModelDeploymentSpec)), raw)


@given(st.from_regex(DURATION_PATTERN, fullmatch=True, alphabet=st.characters(codec="ascii")))
def test_every_duration_of_the_crd_can_be_read(text: str) -> None:
    if text:
        assert 0 <= duration.seconds(text) < 2**31


@pytest.mark.parametrize(
    ("text", "length"), [("90s", 90), ("1h30m", 5400), ("7d", 604800), ("250ms", 0.25), ("1d1s", 86401)]
)
def test_durations(text: str, length: float) -> None:
    assert duration.seconds(text) == length


@pytest.mark.parametrize("text", ["", "90", "1m1h", "1.5h", "-1s", "1s\n", "s", "1w"])
def test_what_is_no_duration_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="such as 90s or 1h30m"):
        duration.seconds(text)


@settings(max_examples=200)
@given(st.from_regex(MODEL_URI_PATTERN, fullmatch=True))
def test_no_model_uri_holds_a_control_character(uri: str) -> None:
    assert uri.isprintable() or not any(ord(character) < 32 or ord(character) == 127 for character in uri)


def test_an_unreadable_spec_names_the_field() -> None:
    with pytest.raises(InvalidResource, match=r"\$\.canary"):
        decode({"metadata": {"name": "a"}, "spec": {"model": {"uri": "models:/a/1"}, "canary": {"weight": 500}}})


def test_phase_of_newer_operator_reads_as_idle() -> None:
    status = {"rollout": {"phase": "Teleporting", "candidate": "bcdfghjklm"}, "replicas": 2}
    resource = decode({"metadata": {"name": "churn"}, "spec": {"model": {"uri": "models:/churn/1"}}, "status": status})
    assert resource.status.replicas == 2, "the rest of the status is kept"
    assert resource.status.rollout is not None and resource.status.rollout.phase is Phase.IDLE


def test_reads_target_of_older_operator_as_candidate() -> None:
    """The rollout of an older operator continues after an upgrade, and its candidate keeps its role."""
    revision = {"name": "churn-b", "weight": 5, "replicas": 1, "readyReplicas": 1}
    status = {
        "rollout": {
            "phase": "Holding",
            "target": "bcdfghjklm",
            "stepIndex": 1,
            "verdict": {"outcome": "Inconclusive", "metric": "errors"},
        },
        "revisions": [
            {**revision, "revision": "bcdfghjklm", "role": "Target"},
            {**revision, "revision": "nqrstvwxz2", "role": "Stable"},
        ],
    }
    resource = decode({"metadata": {"name": "churn"}, "spec": {"model": {"uri": "models:/churn/1"}}, "status": status})
    rollout = resource.status.rollout
    assert rollout is not None
    assert (rollout.candidate, rollout.target, rollout.phase, rollout.step_index) == (
        "bcdfghjklm",
        None,
        Phase.HOLDING,
        1,
    )
    assert [entry.role for entry in resource.status.revisions] == ["Candidate", "Stable"]


def test_crd_keeps_target_of_older_operator() -> None:
    """The API server would otherwise remove it before the operator reads it."""
    rollout = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["rollout"]
    assert "Deprecated" in rollout["properties"]["target"]["description"]
