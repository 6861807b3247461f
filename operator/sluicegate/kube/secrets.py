"""Reading Secrets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Protocol

from sluicegate.kube.errors import Forbidden
from sluicegate.kube.kinds import SECRET, Kind


class Reader(Protocol):
    """Reads objects, see `KubeClient`."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Return an object, or None if it does not exist."""


async def read_secret(reader: Reader, namespace: str, name: str) -> dict[str, bytes] | None:
    """Return the decoded values of a Secret by key.

    Returns:
        None if the Secret does not exist, or if the operator may not read it: RBAC names Secrets, so a Secret that no
        role names may not exist either. An empty mapping if a value is not base64, which the API server refuses.

    Raises:
        KubeError: The Secret could not be read for another reason, which may pass.
    """
    try:
        secret = await reader.get(SECRET, namespace, name)
    except Forbidden:
        return None
    if secret is None:
        return None
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in (secret.get("data") or {}).items()}
    except binascii.Error:
        return {}
