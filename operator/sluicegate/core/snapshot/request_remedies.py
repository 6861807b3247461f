"""What to lower when pods find no node or exceed a quota.

The remedies name who asks: a field of the spec, or a container of the pod that the spec does not describe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from sluicegate.api import names

_EXCEEDED = re.compile(r"requested: (\S+?)(?:,? used: |$)")
_SUFFIXES: dict[str, Decimal | int] = {
    "m": Decimal("0.001"),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def what_to_lower(pod: Mapping[str, Any], lacking: Iterable[str]) -> str:
    """Return what a user can lower for a pod that no node has room for.

    A pod needs the larger of what its containers request together and what any init container requests. It needs that
    for all of its life, also after the init containers have ended.

    Args:
        pod: The pod.
        lacking: The resources that nodes lack, as the scheduler names them.
    """
    spec = pod.get("spec") or {}
    parts = []
    for resource in lacking:
        main = {c["name"]: _requested(c, resource) for c in spec.get("containers") or () if _requested(c, resource)}
        init = {c["name"]: _requested(c, resource) for c in spec.get("initContainers") or () if _requested(c, resource)}
        largest = max(init, key=lambda name: _number(init[name]), default=None)
        if largest is not None and _number(init[largest]) > sum(map(_number, main.values()), Decimal(0)):
            parts.append(_of_container(largest, resource, init[largest], "initContainers"))
        else:
            parts += [
                f"spec.resources.requests.{resource} ({amount})"
                if name == names.MODEL_CONTAINER
                else _of_container(name, resource, amount, "containers")
                for name, amount in main.items()
            ]
    return " and ".join(parts) or "spec.resources"


def of_quota(message: str) -> str:
    """Return how to satisfy a ResourceQuota that the pods exceed.

    Args:
        message: The text of the API server, which names what was requested.
    """
    match = _EXCEEDED.search(message)
    requested = [part.partition("=")[0] for part in match.group(1).split(",")] if match is not None else []
    fields = []
    for resource in requested:
        if resource in ("pods", "count/pods"):
            fields.append("spec.scaling")
        elif "/" in resource:
            fields.append("spec.gpu")
        elif resource:
            kind = "limits" if resource.startswith("limits.") else "requests"
            fields.append(f"spec.resources.{kind}.{resource.removeprefix(f'{kind}.')}")
    if not fields:
        return "raise the quota or lower spec.resources"
    return f"raise the quota, lower {' and '.join(dict.fromkeys(fields))}, or remove other pods of the namespace"


def _requested(container: Mapping[str, Any], resource: str) -> str:
    resources = container.get("resources") or {}
    return str((resources.get("requests") or {}).get(resource) or (resources.get("limits") or {}).get(resource) or "")


def _of_container(name: str, resource: str, amount: str, kind: str) -> str:
    return f"the request of container {name} ({resource}: {amount}), in spec.podTemplate.spec.{kind}"


def _number(quantity: str) -> Decimal:
    """Return a quantity as a number. An unusual one counts as 0, because it only orders containers."""
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity)
    try:
        return Decimal(match.group(1)) * _SUFFIXES.get(match.group(2), 1) if match else Decimal(0)
    except InvalidOperation:
        return Decimal(0)
