"""The operator's settings, from flags, environment variables and a file.

Flags take precedence over environment variables, and environment variables over the file.
"""

from __future__ import annotations

import argparse
import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
import yaml

from sluicegate.config.settings import InvalidSettings, Settings, build

ENVIRONMENT = "SLUICEGATE_"


def scalars() -> dict[str, str]:
    """Return the settings that a flag or an environment variable can hold.

    Returns:
        The description of each setting, by field name.
    """
    descriptions = {}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            continue
        base, *metadata = get_args(hint)
        types_ = get_args(base) if isinstance(base, types.UnionType) else (base,)
        if all(_is_scalar(member) for member in types_ if member is not types.NoneType):
            meta = next(entry for entry in metadata if isinstance(entry, msgspec.Meta) and entry.description)
            descriptions[name] = str(meta.description)
    return descriptions


def _is_scalar(hint: Any) -> bool:
    return hint in (str, int, float, bool) or (get_origin(hint) is not dict and not isinstance(hint, type))


def add_options(command: argparse.ArgumentParser) -> None:
    """Add one flag for each scalar setting."""
    command.add_argument("--config", metavar="FILE", help=f"settings file ({ENVIRONMENT}CONFIG)")
    command.add_argument(
        "--kubeconfig", metavar="FILE", help="kubeconfig file; default: KUBECONFIG, or the pod's service account"
    )
    for name, description in scalars().items():
        flag = "--" + name.replace("_", "-")
        command.add_argument(
            flag, dest=name, metavar="VALUE", help=f"{description} ({ENVIRONMENT}{name.upper()})".replace("%", "%%")
        )


def load(options: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Settings:
    """Load the settings.

    Args:
        options: The options of the command line.
        environment: The environment variables.

    Raises:
        InvalidSettings: A setting is invalid. The message names the setting and where it comes from.
    """
    path = options.config or environment.get(f"{ENVIRONMENT}CONFIG")
    layers = [(path, read(path))] if path else []
    for name in scalars():
        if (value := environment.get(f"{ENVIRONMENT}{name.upper()}")) is not None:
            layers.append((f"{ENVIRONMENT}{name.upper()}", {_camel(name): value}))
    for name in scalars():
        if (value := getattr(options, name, None)) is not None:
            layers.append((f"--{name.replace('_', '-')}", {_camel(name): value}))
    return build(layers)


def read(path: str) -> dict[str, Any]:
    """Read a settings file.

    Raises:
        InvalidSettings: The file cannot be read, or is not a YAML object.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(
            f"{path}: cannot read the file: {error.strerror}. Check its path and permissions"
        ) from error
    except UnicodeError as error:
        raise InvalidSettings(f"{path}: cannot read the file: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidSettings(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict | None):
        raise InvalidSettings(f"{path}: the settings must be an object")
    return content or {}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
