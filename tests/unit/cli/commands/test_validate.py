"""`sluicegate validate`: the rules of the CRD and of the operator, offline."""

import io
import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sluicegate.api.resource import ModelDeployment
from sluicegate.cli.commands.validate import run
from sluicegate.cli.validation.documents import Unreadable, parse
from sluicegate.cli.validation.field_problems import FieldProblem, validate

REPOSITORY = Path(__file__).resolve().parents[4]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))
_TABLE = runpy.run_path(str(REPOSITORY / "tests/support/spec_cases.py"))
WRONG, RIGHT = _TABLE["WRONG"], _TABLE["RIGHT"]

GOOD = """
apiVersion: sluicegate.dev/v1alpha1
kind: ModelDeployment
metadata: {name: churn, namespace: shop}
spec: {model: {uri: "models:/churn@champion"}}
"""


@pytest.mark.parametrize("case", WRONG, ids=[case.title for case in WRONG])
def test_invalid_input_is_rejected_by_field(case: Any) -> None:
    problems = [str(problem) for problem in validate(parse(json.dumps(case.document), "table"))]
    assert problems
    assert any(case.field in line and case.says in line for line in problems), problems


@pytest.mark.parametrize("case", RIGHT, ids=[case.title for case in RIGHT])
def test_unusual_input_is_accepted(case: Any) -> None:
    assert not validate(parse(json.dumps(case.document), "table"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(example)]) == 0, capsys.readouterr().out


def test_names_of_examples_are_unique() -> None:
    """`kubectl apply -f examples/` must not overwrite one example with another."""
    documents = [document for example in EXAMPLES for document in parse(example.read_text(), str(example))]
    names = [document["metadata"]["name"] for document in documents]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


def test_finding_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(GOOD.replace("uri:", "maxStaleness: soon, uri:") + "---\n" + GOOD)
    assert run([str(path)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{path}: shop/churn: spec.model.maxStaleness: must be a duration such as 90s")


def test_several_files_and_standard_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(GOOD + "---\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(GOOD + "---" + GOOD))
    assert run([str(path), "-"]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [f"{path}: 1 valid", "-: 2 valid"]
    assert output.err == f"{path}: note: Service s is not a ModelDeployment and was not checked\n"


def test_items_of_a_list_are_validated() -> None:
    wrong = {"apiVersion": "sluicegate.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "a"}, "spec": {}}
    documents = parse(json.dumps({"apiVersion": "v1", "kind": "List", "items": [wrong, wrong]}), "f")
    assert len(validate(documents)) == 2


def test_operators_rules_check_what_passes_the_crd() -> None:
    def refuse(resource: ModelDeployment) -> Iterator[FieldProblem]:
        yield FieldProblem("/".join(resource.key), "spec.model", "is not liked")

    assert validate(parse(GOOD, "f"), [refuse]) == [FieldProblem("shop/churn", "spec.model", "is not liked")]


@pytest.mark.parametrize(
    ("version", "refused"),
    [("sluicegate.dev/v1alpha1", False), ("sluicegate.dev/v1", True), ("other.dev/v1", False)],
)
def test_other_api_groups_are_not_checked(version: str, refused: bool) -> None:
    assert bool(validate(parse(GOOD.replace("sluicegate.dev/v1alpha1", version), "f"))) is refused


@pytest.mark.parametrize(
    ("rollout", "warning"),
    [
        ("steps: [{weight: 50, hold: 1m}, {weight: 10, hold: 1m}]", "steps[1].weight: 10% is below the 50%"),
        ("steps: [{weight: 100, hold: 1m}]", "steps[0]: holds while the candidate receives all requests"),
        ("steps: [{weight: 10, hold: 5m, pause: {}}]", "steps[0].hold: 5m has no effect"),
        ("progressDeadline: 1s", "progressDeadline: 1s is shorter than"),
    ],
)
def test_what_is_probably_wrong_is_a_warning(
    rollout: str, warning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "churn.yaml"
    path.write_text(GOOD.replace('champion"}', f'champion"}}, rollout: {{{rollout}}}'))
    assert run([str(path)]) == 0
    output = capsys.readouterr()
    assert output.out == f"{path}: 1 valid\n"
    assert f"{path}: warning: shop/churn: spec.rollout.{warning}" in output.err
    assert len(output.err.splitlines()) == 1


def test_examples_have_no_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    run([str(REPOSITORY / "examples")])
    assert "warning" not in capsys.readouterr().err


def test_unknown_field_has_a_suggestion() -> None:
    (problem,) = validate(parse(GOOD.replace("spec: {", "spec: {runtme: {}, "), "f"))
    assert problem == FieldProblem("shop/churn", "spec.runtme", "unknown field; did you mean runtime?")


def test_all_problems_are_reported_at_once() -> None:
    text = (
        GOOD.replace("churn,", "Churn,")
        .replace("models:/churn@champion", "churn")
        .replace("spec: {", "spec: {paused: 1, ")
    )
    assert [problem.field for problem in validate(parse(text, "f"))] == [
        "metadata.name",
        "spec.model.uri",
        "spec.paused",
    ]


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: [", "a: .nan", "a: {b: 1, b: 1}", "a: !!python/object:x {}"])
def test_invalid_yaml_is_an_error(text: str) -> None:
    with pytest.raises(Unreadable, match=r"^f: is not valid YAML: "):
        parse(text, "f")


def test_directory_stands_for_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    examples = REPOSITORY / "examples"
    assert run([str(examples)]) == 0
    assert f"{examples}/quickstart.yaml: 1 valid" in capsys.readouterr().out


def test_directory_without_files_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(tmp_path)]) == 1
    assert "no .yaml, .yml or .json file" in capsys.readouterr().out


def test_missing_file_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["/no/such/file"]) == 1
    assert capsys.readouterr().out == (
        "/no/such/file: cannot read the file: No such file or directory. "
        "Check its path, permissions and encoding (UTF-8).\n"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", True),
        ("1.10", 1.1),
        ("0755", 493),
        ("1:30", "1:30"),
        ("2026-03-01", "2026-03-01"),
        ("1e3", 1000),
        ("2.0", 2),
        ("~", None),
        ("0.5", 0.5),
        ("1_000", 1000),
        ("v1", "v1"),
    ],
)
def test_scalars_are_parsed_as_by_kubectl(text: str, value: object) -> None:
    (document,) = parse(f"a: {text}", "f")
    assert document["a"] == value and type(document["a"]) is type(value)


def test_merge_keys_and_keys_that_are_not_strings() -> None:
    (document,) = parse("a: &a {x: 1}\nb: {<<: *a, y: 2}\n2: two\non: true", "f")
    assert document == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "2": "two", "true": True}
