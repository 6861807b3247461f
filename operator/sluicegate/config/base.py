"""The base of the operator's settings."""

from __future__ import annotations

import msgspec


class SettingsType(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of all settings. An unknown key is an error here, because no API server has pruned it."""
