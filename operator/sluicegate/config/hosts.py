"""Patterns of host names in settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypeAlias

from msgspec import Meta

HostPattern: TypeAlias = Annotated[
    str, Meta(pattern=r"^(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?$", max_length=253)
]
"""A host name or IPv4 address without a port, or `*.SUFFIX` for each host below SUFFIX."""


def matches(host: str, patterns: Iterable[str]) -> bool:
    """Tell whether `host` is one of `patterns`. `*.example.com` matches each host below example.com."""
    name = host.lower().rstrip(".")
    for pattern in (pattern.lower() for pattern in patterns):
        if name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:]) and name != pattern[1:]):
            return True
    return False
