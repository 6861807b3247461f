"""What is wrong with a manifest: the CRD's own rules first, then the operator's.

What passes the CRD is decoded and given to the operator's rules, which know what the API server cannot: fields that this
release does not act on, and fields of the pod template that no pod has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from sluicegate.api import names
from sluicegate.api.resource import InvalidResource, ModelDeployment, decode


class Finding(NamedTuple):
    """One thing that is wrong with one resource."""

    path: str
    """NAMESPACE/NAME of the resource."""
    field: str
    """Path of the field, such as `spec.canary.weight`."""
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.field}: {self.message}"


Check = Callable[[ModelDeployment], Iterable[Finding]]
"""A rule of the operator's."""


def is_ours(document: object) -> bool:
    """Whether `document` is a ModelDeployment of any version, right or wrong."""
    if not isinstance(document, dict):
        return False
    group = str(document.get("apiVersion", "")).partition("/")[0]
    return document.get("kind") == names.KIND and group in (names.GROUP, "")


def path_of(document: dict[str, Any]) -> str:
    """NAMESPACE/NAME of `document`, whatever it lacks."""
    metadata = document.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return f"{known.get('namespace') or 'default'}/{known.get('name') or '(no name)'}"


def validate(documents: Iterable[Any], extra: Sequence[Check] = ()) -> list[Finding]:
    """What is wrong with the ModelDeployments among `documents`.

    Args:
        documents: parsed YAML; what is no ModelDeployment is passed over.
        extra: the operator's rules, asked about the resources that keep the CRD's.
    """
    return [finding for document in documents if is_ours(document) for finding in _findings(document, extra)]


def _findings(document: dict[str, Any], extra: Sequence[Check]) -> list[Finding]:
    from sluicegate.cli.validation.crd import problems

    path = path_of(document)
    found = [Finding(path, problem.field, problem.message) for problem in problems(document)]
    if found:
        return found
    try:
        resource = decode(document)
    except InvalidResource as error:
        return [Finding(path, "spec", str(error))]
    return [finding for check in extra for finding in check(resource)]
