"""The lock files contain what the package metadata lists, and no package index."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDS = "scorer/sluicegate_scorer/needs.txt"
SCORER = ["stores", "install"]
# Each lock file, the folder of its pyproject.toml, and the extras and groups in it.
LOCKS: dict[str, tuple[str, list[str], list[str]]] = {
    "requirements.txt": (".", [], ["build"]),
    "requirements-dev.txt": (".", ["cli"], ["dev"]),
    "scorer/requirements-test.txt": ("scorer", SCORER, ["test"]),
    **{
        f"scorer/flavors/{flavor}.txt": ("scorer", SCORER, ["build", flavor])
        for flavor in ("sklearn", "onnx", "torch", "tensorflow")
    },
}
MLSERVER = "bench/requirements-mlserver.txt"


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[=><; ]", requirement)[0].lower() for requirement in requirements}


def _pinned(lock: str) -> set[str]:
    return _names(re.findall(r"^[a-z0-9][^ ]*==[^ ]+", (REPOSITORY / lock).read_text(), re.MULTILINE))


def _needs() -> list[str]:
    lines = (REPOSITORY / NEEDS).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _group(document: dict[str, Any], name: str) -> list[str]:
    found = []
    for entry in document["dependency-groups"][name]:
        found += [entry] if isinstance(entry, str) else _group(document, entry["include-group"])
    return found


def _metadata(folder: str) -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / folder / "pyproject.toml").read_text())


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_file_contains_what_the_metadata_lists(lock: str) -> None:
    folder, extras, groups = LOCKS[lock]
    document = _metadata(folder)
    listed = document["project"].get("dependencies") or _needs()
    listed += [each for extra in extras for each in document["project"]["optional-dependencies"][extra]]
    listed += [each for group in groups for each in _group(document, group)]
    assert _names(listed) <= _pinned(lock)


def test_mlserver_has_the_mlflow_of_the_scoring_image() -> None:
    group = _group(_metadata("."), "mlserver")
    assert _names(group) <= _pinned(MLSERVER)
    assert [each for each in group if each.startswith("mlflow=")] == [need for need in _needs() if "mlflow" in need]


def test_there_are_no_other_lock_files() -> None:
    folders = (".", "bench", "images", "scorer", "scorer/flavors")
    files = {
        str(path.relative_to(REPOSITORY))
        for folder in folders
        for pattern in ("*requirements*", "flavors/*", "*.in")
        for path in (REPOSITORY / folder).glob(pattern)
    }
    assert files == {*LOCKS, MLSERVER}


@pytest.mark.parametrize("lock", [*LOCKS, MLSERVER])
def test_lock_file_pins_hashes_and_names_no_index(lock: str) -> None:
    text = (REPOSITORY / lock).read_text()
    assert not re.search(r"^(--|-i |-f )|://", text, re.MULTILINE)
    pins = re.findall(r"^[a-z0-9].*$", text, re.MULTILINE)
    assert all("==" in pin and pin.endswith("\\") for pin in pins)
