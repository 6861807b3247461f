"""Python environments with a model's own requirements.

The server can enter one of them. Its code always comes from the image and is never copied, because an environment may
be older than the image that uses it.
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
    """Return what the server needs besides the model's requirements.

    The list is part of the distribution.
    """
    text = resources.files("sluicegate_scorer").joinpath("needs.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def key(model: Path, server: Sequence[str]) -> str:
    """Return the name of the environment for a model.

    Models with the same requirements on the same Python share one.

    Args:
        model: the model's directory.
        server: what the server needs.
    """
    inputs = {
        "model": [line.strip() for line in requirements.stated_requirements(model)[1] if line.strip()],
        "constraints": [path.read_text(errors="replace") for path in sorted(model.glob("constraints*.txt"))],
        "server": list(server),
        "python": [platform.python_version(), sys.implementation.cache_tag, sys.base_prefix],
        "platform": [sysconfig.get_platform(), *platform.libc_ver()],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def python_path(base: Path | None = None) -> Path:
    """Make a directory from which Python imports the image's `sluicegate_scorer`.

    Python can import nothing else of the image from it.

    Args:
        base: the directory to make it in, /tmp by default.
    """
    directory = Path(tempfile.mkdtemp(prefix="sluicegate-scorer-", dir=base))
    (directory / _PACKAGE.name).symlink_to(_PACKAGE, target_is_directory=True)
    return directory


def variables(directory: Path) -> dict[str, str]:
    """Return the environment variables of a process in an environment.

    Args:
        directory: the directory that `python_path` made.
    """
    return {
        **{name: value for name, value in os.environ.items() if name not in _OVERLAID},
        "PYTHONPATH": str(directory),
    }


def enter(directory: Path | None, arguments: Sequence[str]) -> None:
    """Continue the same command in another environment.

    The function returns only if this process already runs in that environment, or if none is named. It replaces the
    process, so that process 1 of the container stays the one that receives SIGTERM.

    Raises:
        ScorerError: if the environment does not exist.
    """
    if directory is None or Path(sys.prefix).resolve() == directory.resolve():
        return
    python = directory.resolve() / "bin" / "python"
    if not python.exists():
        raise ScorerError(
            f"no environment for this image's Python exists at {directory}. "
            "Run sluicegate-scorer install of the same image"
        )
    env = variables(python_path())
    env["PATH"] = os.pathsep.join([str(python.parent), env.get("PATH", os.defpath)])
    os.execve(python, [str(python), "-m", "sluicegate_scorer", *arguments], env)
