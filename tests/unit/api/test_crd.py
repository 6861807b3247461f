"""The generated CRD and its reference.

They are complete, bounded, without defaults, and up to date in the repository.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta
from sluicegate.api.crd import CRD_FILE, crd, schema
from sluicegate.api.fields import ApiType, doc
from sluicegate.api.schema import SchemaError, schema_of
from sluicegate.api.spec import ModelDeploymentSpec
from sluicegate.api.status import ModelDeploymentStatus

from tools.docsgen.__main__ import REPOSITORY as REPOSITORY_OF_TOOL
from tools.docsgen.__main__ import drift, main

REPOSITORY = Path(__file__).resolve().parents[3]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


ALL = [*nodes(schema_of(ModelDeploymentSpec), "spec"), *nodes(schema_of(ModelDeploymentStatus), "status")]


def test_generated_files_are_up_to_date() -> None:
    assert drift(REPOSITORY) == "", "run: make generate"


def test_check_shows_what_differs_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "--check"]) == 1
    assert "+kind: CustomResourceDefinition" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--root", str(tmp_path), "--check"]) == 0
    (tmp_path / CRD_FILE).write_text("kind: Nothing\n")
    assert main(["--root", str(tmp_path), "--check"]) == 1


def test_nothing_is_defaulted_or_nullable() -> None:
    assert not [path for path, node in ALL if "default" in node or "nullable" in node]


def test_a_status_nobody_has_written_is_of_generation_zero() -> None:
    """Check the default of status.observedGeneration.

    Without it, Flux and Helm treat a new object as ready before the operator has observed it.
    """
    assert schema()["properties"]["status"]["default"] == {"observedGeneration": 0}


def test_strings_lists_and_maps_are_bounded() -> None:
    for path, node in ALL:
        match node.get("type"):
            case "string":
                assert "maxLength" in node or "enum" in node, path
            case "array":
                assert "maxItems" in node and "x-kubernetes-list-type" in node, path
            case "object":
                free = "x-kubernetes-preserve-unknown-fields" in node
                assert free or "properties" in node or "maxProperties" in node, path


def test_no_error_shows_a_regular_expression() -> None:
    assert not [path for path, node in ALL if "pattern" in node]


def test_rules_are_sentences_about_a_field_that_exists() -> None:
    for path, node in ALL:
        for rule in node.get("x-kubernetes-validations", []):
            place = node
            for part in rule.get("fieldPath", "").split(".")[1:]:
                place = place["properties"][part]
            assert len(rule["message"]) > 15 and rule["reason"] == "FieldValueInvalid", path


def test_optional_fields_of_the_spec_tell_their_default() -> None:
    for path, node in ALL:
        if path.startswith("spec"):
            for name, field in node.get("properties", {}).items():
                required = name in node.get("required", [])
                assert required or "Default: " in field["description"], f"{path}.{name}"


def test_names_and_subresources() -> None:
    spec = crd()["spec"]
    assert spec["scope"] == "Namespaced" and spec["names"]["shortNames"] == ["mdep"]
    assert spec["versions"][0]["subresources"]["scale"]["specReplicasPath"] == ".spec.scaling.replicas"


class NoDescription(ApiType, frozen=True):
    name: Annotated[str, Meta(max_length=1)]


class NoBound(ApiType, frozen=True):
    name: Annotated[str, doc("A name.")]


class NoListBound(ApiType, frozen=True):
    name: Annotated[tuple[int, ...], doc("Names.")]


class NoMapBound(ApiType, frozen=True):
    name: Annotated[dict[str, int], doc("Names.")]


class NoSchema(ApiType, frozen=True):
    name: Annotated[bytes, doc("Bytes.")]


@pytest.mark.parametrize("kind", [NoDescription, NoBound, NoListBound, NoMapBound, NoSchema])
def test_a_type_that_forgets_something_is_named(kind: type) -> None:
    with pytest.raises(SchemaError, match=rf"^{kind.__name__}\.name: "):
        schema_of(kind)


def test_the_repository_is_found() -> None:
    assert REPOSITORY_OF_TOOL == REPOSITORY
