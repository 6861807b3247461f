"""Where things are kept: the state of each cluster, and the cache of built tools and images."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tools.localcluster.errors import ClusterError

NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")


def check_name(name: str) -> str:
    """Returns the name, or says why it cannot be one (it becomes part of interface and cgroup names)."""
    if not NAME.fullmatch(name):
        raise ClusterError(f"{name!r} cannot name a cluster: use a-z, 0-9 and '-', at most 20 characters.")
    return name


def state_root() -> Path:
    """The folder with one folder per cluster; SLUICEGATE_STATE overrides it."""
    if override := os.environ.get("SLUICEGATE_STATE"):
        return Path(override).resolve()
    if os.geteuid() == 0:
        return Path("/var/lib/sluicegate")
    return Path.home() / ".local" / "state" / "sluicegate"


def state_dir(name: str) -> Path:
    """The folder that holds all of one cluster."""
    return state_root() / check_name(name)


def socket_dir(name: str) -> Path:
    """Unix sockets live here: their paths are limited to 107 bytes, which a long state folder would break."""
    return Path("/run/sluicegate") / check_name(name)


def owner_note(name: str) -> Path:
    """Names the state folder of the node that uses this name.

    Namespace, cgroup and sockets are the machine's, while a state folder is whatever SLUICEGATE_STATE says: two
    folders must not fight over one name.
    """
    return socket_dir(name) / "state"


def cache_root() -> Path:
    """Built tools and images, shared by all clusters; SLUICEGATE_CACHE overrides it."""
    override = os.environ.get("SLUICEGATE_CACHE")
    path = Path(override).resolve() if override else Path.home() / ".cache" / "sluicegate"
    path.mkdir(parents=True, exist_ok=True)
    return path
