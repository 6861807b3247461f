"""Documents that are malformed in any way end each command with a message, never with a traceback."""

import argparse
import asyncio
import contextlib
import copy
import io
import json
import runpy
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sluicegate.cli import cluster
from sluicegate.cli.cluster import Failed
from sluicegate.cli.main import main
from sluicegate.cli.settings import read
from sluicegate.config.settings import InvalidSettings

REPOSITORY = Path(__file__).resolve().parents[4]
HEAD = "apiVersion: sluicegate.dev/v1alpha1\nkind: ModelDeployment\n"
SPEC = "spec: {model: {uri: models:/churn/1}}\n"
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
MALFORMED: dict[str, str | bytes] = {
    "scalar": "hello",
    "list": "- a\n- b\n",
    "item of a List": "kind: List\nitems: [3]\n",
    "metadata is a list": HEAD + "metadata: [churn]\n" + SPEC,
    "metadata is text": HEAD + "metadata: churn\n" + SPEC,
    "metadata is null": HEAD + "metadata:\n" + SPEC,
    "name is a number": HEAD + "metadata: {name: 3}\n" + SPEC,
    "name is empty": HEAD + 'metadata: {name: ""}\n' + SPEC,
    "namespace is a number": HEAD + "metadata: {name: churn, namespace: 3}\n" + SPEC,
    "spec is text": HEAD + "metadata: {name: churn}\nspec: text\n",
    "labels are a list": HEAD + "metadata: {name: churn, labels: [a]}\n" + SPEC,
    "half of a surrogate pair": HEAD + 'metadata: {name: "\\ud800"}\n' + SPEC,
    "key is a list": "? [a]\n: b\n",
    "value does not fit its tag": "a: !!bool x\n",
    "anchor contains itself": HEAD + "metadata: &m {name: churn, labels: *m}\n" + SPEC,
    "aliases multiply": BOMB,
    "merge keys multiply": "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40)),
    "deep": "[" * 400 + "]" * 400,
    "number beyond floats": "a: " + "9" * 400,
    "binary": bytes(range(256)),
    "UTF-16": (HEAD + SPEC).encode("utf-16"),
}


def _rejecting(
    options: argparse.Namespace, work: Callable[[Any], Coroutine[Any, Any, int]], *, failure: int = 1
) -> int:
    """Run `work` as `cluster.run` does, with an API server that has no object and rejects each one."""
    client = mock.AsyncMock()
    client.get.return_value = None
    client.dry_run.side_effect = Failed("the API server rejects it")
    try:
        return asyncio.run(work(client))
    except Failed as error:
        sys.stderr.write(f"{options.prog}: {error}\n")
        return failure


def _run(command: str, content: str | bytes) -> tuple[int, str]:
    """Return the exit code and the whole output of a command that reads `content` from a file."""
    output = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(cluster, "run", _rejecting),
        mock.patch.object(cluster, "namespace", lambda options: "shop"),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        path = Path(folder) / "m.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        code = main([command, "-f", str(path)])
    return code, output.getvalue()


@pytest.mark.parametrize("command", ["validate", "render", "diff"])
@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_document_is_an_error_with_a_message(command: str, content: str | bytes) -> None:
    code, output = _run(command, content)
    assert code == (2 if command == "diff" else 1)
    assert output.strip()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
VALID = [case.document for case in runpy.run_path(str(REPOSITORY / "tests/support/spec_cases.py"))["RIGHT"]]


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """Return any value, or a valid ModelDeployment of which one part is replaced by any value."""
    if draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    document = copy.deepcopy(draw(st.sampled_from(VALID)))
    part = document
    while True:
        key = draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        if not part[key] or not isinstance(part[key], dict | list) or draw(st.integers(0, 4)) == 0:
            part[key] = draw(VALUES)
            return document
        part = part[key]


@settings(max_examples=200)
@given(st.sampled_from(["validate", "render", "diff"]), documents())
def test_any_document_ends_without_a_traceback(command: str, document: Any) -> None:
    code, output = _run(command, json.dumps(document))
    assert code in (0, 1, 2)
    assert output.strip() or code == 0
    if document is not None and not isinstance(document, dict):
        assert code != 0


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: 2026-99-99"])
def test_malformed_settings_file_is_an_error_with_a_message(tmp_path: Path, content: bytes) -> None:
    config = tmp_path / "settings.yaml"
    config.write_bytes(content)
    with pytest.raises(InvalidSettings, match=r"settings\.yaml: "):
        read(str(config))
