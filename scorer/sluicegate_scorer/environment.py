"""Python environments that hold a model's own requirements, and how the server comes to run in one.

The server's code always is the image's, never a copy: an environment may be older than the image that uses it.
"""

import hashlib
import json
import os
import platform
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from sluicegate_scorer import requirements
from sluicegate_scorer.errors import ScorerError

_PACKAGE = Path(__file__).resolve().parent
_OVERLAID = ("VIRTUAL_ENV", "PYTHONHOME")


def server_needs() -> tuple[str, ...]:
    """What the server itself needs beside the model's requirements: the distribution's own list."""
    text = resources.files("sluicegate_scorer").joinpath("needs.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def key(model: Path, server: Sequence[str]) -> str:
    """The name of the environment for a model: the same for models that ask for the same, on the same Python.

    Args:
        model: the model's directory.
        server: what the server needs.
    """
    asked = {
        "model": [line.strip() for line in requirements.asked(model)[1] if line.strip()],
        "constraints": [each.read_text(errors="replace") for each in sorted(model.glob("constraints*.txt"))],
        "server": list(server),
        "python": [platform.python_version(), sys.implementation.cache_tag, sys.base_prefix],
        "platform": [sysconfig.get_platform(), *platform.libc_ver()],
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def python_path(base: Path | None = None) -> Path:
    """A directory that makes the image's own `sluicegate_scorer` importable, and nothing else of the image.

    Args:
        base: where to make it; a new directory under /tmp otherwise.
    """
    shown = Path(tempfile.mkdtemp(prefix="sluicegate-scorer-", dir=base))
    (shown / _PACKAGE.name).symlink_to(_PACKAGE, target_is_directory=True)
    return shown


def variables(shown: Path) -> dict[str, str]:
    """Environment variables of a process in an environment; `shown` is what `python_path` gave."""
    return {**{name: value for name, value in os.environ.items() if name not in _OVERLAID}, "PYTHONPATH": str(shown)}


def enter(directory: Path | None, arguments: Sequence[str]) -> None:
    """Goes on as the same command in another environment; returns only where that is this one, or none is named.

    The process is replaced, so that process 1 of the container stays the one that gets SIGTERM.

    Raises:
        ScorerError: where there is no such environment.
    """
    if directory is None or Path(sys.prefix).resolve() == directory.resolve():
        return
    python = directory.resolve() / "bin" / "python"
    if not python.exists():
        raise ScorerError(
            f"there is no environment at {directory}, or it was installed by an image with another Python; "
            "let sluicegate-scorer install of this image make it"
        )
    env = variables(python_path())
    env["PATH"] = os.pathsep.join([str(python.parent), env.get("PATH", os.defpath)])
    os.execve(python, [str(python), "-m", "sluicegate_scorer", *arguments], env)
