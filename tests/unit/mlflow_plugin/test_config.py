"""The meaning of `-C`, and what an update keeps, as pure functions."""

from typing import Any

import pytest
from sluicegate_mlflow.config import WrongConfig, changed, owned, path, read, value


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("2", 2),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("1.10", "1.10"),
        ("0755", "0755"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("NaN", "NaN"),
        ("30s", "30s"),
        ("example/model:1", "example/model:1"),
        ('"2"', "2"),
        ('{"a": [1]}', {"a": [1]}),
        ("[a, b]", ["a", "b"]),
    ],
)
def test_values_are_parsed_as_written(text: str, meaning: Any) -> None:
    option = value(text)
    assert (option, type(option)) == (meaning, type(meaning))


def test_paths() -> None:
    assert path("spec.scaling.replicas") == path("scaling.replicas") == ("scaling", "replicas")
    assert path(r"gpu.nodeSelector.cloud\.example/pool") == ("gpu", "nodeSelector", "cloud.example/pool")


@pytest.mark.parametrize(
    "options",
    [{"a..b": "1"}, {"": "1"}, {"gpu": "{"}, {"wait": "2"}, {"timeout": "soon"}, {"model.uri": "models:/a/1"}],
)
def test_invalid_options_are_errors(options: dict[str, str]) -> None:
    with pytest.raises(WrongConfig):
        read(options)


def test_plugin_options_are_not_fields() -> None:
    option = read({"wait": "false", "timeout": "1m30s", "force": "true", "scaling.replicas": "2"})
    assert (option.wait, option.timeout, option.force) == (False, 90.0, True)
    assert option.fields == {("scaling", "replicas"): 2}


def test_changes_are_merged_into_the_spec() -> None:
    spec = {"model": {"uri": "a"}, "scaling": {"min": 1, "max": 3}}
    fields = {("scaling",): {"replicas": 2}, ("gpu", "count"): 1}
    assert changed(spec, fields) == {"model": {"uri": "a"}, "scaling": {"replicas": 2}, "gpu": {"count": 1}}
    assert changed(spec, {("scaling", "min"): None, ("scaling", "max"): None}) == {"model": {"uri": "a"}}
    with pytest.raises(WrongConfig, match="has no fields"):
        changed(spec, {("model", "uri", "x"): 1})


def test_fields_of_a_manager_are_read_back() -> None:
    tree = {
        "f:model": {"f:uri": {}},
        "f:runtime": {"f:args": {}, "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}}},
    }
    entries = [
        {"manager": "me", "operation": "Apply", "fieldsV1": {"f:spec": tree}},
        {"manager": "other", "operation": "Apply", "fieldsV1": {"f:spec": {"f:scaling": {}}}},
    ]
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    spec = {"model": {"uri": "a"}, "runtime": {"args": ["x"], "env": env}, "scaling": {"replicas": 1}}
    live = {"metadata": {"managedFields": entries}, "spec": spec}
    assert owned(live, "me") == {"model": {"uri": "a"}, "runtime": {"args": ["x"], "env": env[:1]}}
    assert owned(live, "other") == {"scaling": {"replicas": 1}}
    assert owned(live, "nobody") == {}
