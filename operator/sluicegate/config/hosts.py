"""Patterns of host names in settings."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

HostPattern: TypeAlias = Annotated[
    str, Meta(pattern=r"^(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?$", max_length=253)
]
"""A host name or IPv4 address without a port, or `*.SUFFIX` for each host below SUFFIX."""
