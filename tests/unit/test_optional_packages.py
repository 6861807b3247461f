"""The operator's image has no CEL, jsonschema and rich: only the extra `cli` installs them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ("cel", "jsonschema", "rich")
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({MODULES!r})); "
IMPORT_ALL = """
import importlib, pkgutil, sluicegate
for module in pkgutil.walk_packages(sluicegate.__path__, "sluicegate."):
    if module.name != "sluicegate.cli.validation.crd":
        importlib.import_module(module.name)
"""
MANIFEST = """
apiVersion: sluicegate.dev/v1alpha1
kind: ModelDeployment
metadata: {name: churn}
spec: {model: {uri: "models:/churn/1"}}
"""


def _run_without_packages(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", WITHOUT + code, *args]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=REPOSITORY)


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[=><; ]", requirement)[0] for requirement in requirements}


def test_operator_imports_without_the_extra() -> None:
    done = _run_without_packages(IMPORT_ALL)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["validate", "render"])
def test_command_names_the_missing_package(command: str, tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(MANIFEST)
    main = "from sluicegate.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = _run_without_packages(main, command, "-f", str(path))
    message = 'the Python package cel is not installed: run pip install "sluicegate[cli]"'
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"sluicegate {command}: {message}\n")


def test_terminal_without_rich_is_plain() -> None:
    code = (
        "sys.stdout.isatty = lambda: True; from sluicegate.cli.output import terminal; sys.exit(terminal.is_terminal())"
    )
    done = _run_without_packages(f"import os; os.environ['TERM'] = 'xterm'; os.environ.pop('NO_COLOR', None); {code}")
    assert done.returncode == 0, done.stderr


def test_only_the_development_lock_file_has_the_extra() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needed, extra = _names(project["dependencies"]), _names(project["optional-dependencies"]["cli"])
    image, development = (
        _names(re.findall(r"^[a-z][^ ]*==[^ ]+", (REPOSITORY / file).read_text(), re.MULTILINE))
        for file in ("requirements.txt", "requirements-dev.txt")
    )
    assert needed <= image
    assert not extra & image
    assert needed | extra <= development
