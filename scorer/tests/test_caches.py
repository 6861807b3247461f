"""Environment variables of libraries that write while a model loads."""

import os
from pathlib import Path

import pytest
from sluicegate_scorer import caches

TEMPORARY = Path("/tmp")
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def read_only(monkeypatch):
    """Return a function that makes a directory and all that is in it read-only, also for root."""
    closed = []
    access = os.access

    def allowed(path, mode):
        return access(path, mode) and not any(Path(path).is_relative_to(directory) for directory in closed)

    monkeypatch.setattr(os, "access", allowed)
    return closed.append


def prepared(home, **variables):
    variables = {"HOME": str(home), **variables}
    caches.prepare(variables, TEMPORARY)
    assert {name: variables.pop(name) for name in QUIET} == QUIET
    return variables


def fill(home, *folders):
    for folder in folders:
        (home / folder).mkdir(parents=True)
        (home / folder / "model.bin").write_text("")


def test_changes_nothing_where_home_can_be_written(home):
    fill(home, ".cache/huggingface")
    assert prepared(home) == {"HOME": str(home)}
    assert prepared(home, XDG_CACHE_HOME="/data") == {"HOME": str(home), "XDG_CACHE_HOME": "/data"}


def test_moves_a_home_that_cannot_be_written(home, read_only):
    read_only(home)
    assert prepared(home) == {"HOME": "/tmp", "XDG_CACHE_HOME": "/tmp/.cache"}
    assert prepared(home / "missing") == {"HOME": "/tmp", "XDG_CACHE_HOME": "/tmp/.cache"}


def test_reads_the_caches_that_the_image_has(home, read_only):
    fill(home, ".cache/huggingface", ".cache/torch", ".keras", "nltk_data")
    read_only(home)
    assert prepared(home, TORCH_HOME="/data/torch") == {
        "HOME": "/tmp",
        "XDG_CACHE_HOME": "/tmp/.cache",
        "HF_HOME": f"{home}/.cache/huggingface",
        "TORCH_HOME": "/data/torch",
        "KERAS_HOME": f"{home}/.keras",
        "NLTK_DATA": f"{home}/nltk_data",
    }


def test_moves_only_the_cache_if_root_made_it(home, read_only):
    fill(home, ".cache/huggingface", ".keras")
    read_only(home / ".cache")
    assert prepared(home) == {
        "HOME": str(home),
        "XDG_CACHE_HOME": "/tmp/.cache",
        "HF_HOME": f"{home}/.cache/huggingface",
    }


def test_keeps_what_the_user_set(home, read_only):
    read_only(home)
    mine = {"XDG_CACHE_HOME": "/data/cache", "HF_HOME": "/data/hf", "MPLCONFIGDIR": "/data/mpl"}
    assert prepared(home, **mine) == {"HOME": "/tmp", **mine}
