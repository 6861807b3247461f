"""Paths of the state of each cluster, and of the cache of built tools and images."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tools.localcluster.errors import ClusterError

NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")


def check_name(name: str) -> str:
    """Return the name if it is a valid name of a cluster.

    The name becomes part of the names of a network namespace and a cgroup.

    Raises:
        ClusterError: The name is invalid. The message describes a valid name.
    """
    if not NAME.fullmatch(name):
        raise ClusterError(f"{name!r} cannot name a cluster: use a-z, 0-9 and '-', at most 20 characters.")
    return name


def state_root() -> Path:
    """Return the folder that has one folder for each cluster.

    SLUICEGATE_STATE overrides the default.
    """
    if override := os.environ.get("SLUICEGATE_STATE"):
        return Path(override).resolve()
    if os.geteuid() == 0:
        return Path("/var/lib/sluicegate")
    return Path.home() / ".local" / "state" / "sluicegate"


def state_dir(name: str) -> Path:
    """Return the folder with the state of one cluster."""
    return state_root() / check_name(name)


def socket_dir(name: str) -> Path:
    """Return the folder for the Unix sockets of one cluster.

    The path of a socket is limited to 107 bytes. A long path of the state folder would exceed this limit.
    """
    return Path("/run/sluicegate") / check_name(name)


def owner_note(name: str) -> Path:
    """Return the path of the note that contains a node's state folder.

    The namespace, the cgroup and the sockets belong to the machine, but SLUICEGATE_STATE selects the state folder.
    The note keeps two state folders from using the same name.
    """
    return socket_dir(name) / "state"


def cache_root() -> Path:
    """Return the folder of built tools and images, which all clusters share.

    SLUICEGATE_CACHE overrides the default.
    """
    override = os.environ.get("SLUICEGATE_CACHE")
    path = Path(override).resolve() if override else Path.home() / ".cache" / "sluicegate"
    path.mkdir(parents=True, exist_ok=True)
    return path
