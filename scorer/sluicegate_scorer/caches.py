"""Where libraries write while they are imported or load a model.

The root file system of a pod is read-only, and its user may have no home directory. Only what cannot be written is
moved, so that models and data which the image already has in a library's cache are found.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path

_TEMPORARY = Path("/tmp")
_BELOW_CACHE = {"HF_HOME": "huggingface", "TORCH_HOME": "torch"}
_BELOW_HOME = {"KERAS_HOME": ".keras", "NLTK_DATA": "nltk_data"}
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}


def prepare(variables: MutableMapping[str, str], temporary: Path = _TEMPORARY) -> None:
    """Set the environment variables of libraries, where the user has not set them.

    Args:
        variables: the environment.
        temporary: a directory that can be written.
    """
    home = Path(variables.get("HOME") or os.path.expanduser("~"))
    cache = Path(variables.get("XDG_CACHE_HOME") or home / ".cache")
    moved = {}
    if not os.access(home, os.W_OK):
        variables["HOME"] = str(temporary)
        moved.update({name: home / folder for name, folder in _BELOW_HOME.items()})
    if "XDG_CACHE_HOME" not in variables and not (os.access(home, os.W_OK) and _can_write(cache)):
        variables["XDG_CACHE_HOME"] = str(temporary / ".cache")
        moved.update({name: cache / folder for name, folder in _BELOW_CACHE.items()})
    for name, folder in moved.items():
        if _has_files(folder):  # libraries read these without writing
            variables.setdefault(name, str(folder))
    for name, value in _QUIET.items():
        variables.setdefault(name, value)


def _can_write(directory: Path) -> bool:
    """Tell whether a directory can be written, or else made."""
    existing = next((path for path in (directory, *directory.parents) if path.exists()), directory)
    return os.access(existing, os.W_OK)


def _has_files(directory: Path) -> bool:
    try:
        return any(directory.iterdir())
    except OSError:
        return False
