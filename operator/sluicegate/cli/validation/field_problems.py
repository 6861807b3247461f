"""The problems of a manifest, by the rules of the CRD and by the operator's own.

The operator's rules check only a manifest that passes the CRD. They cover what the API server cannot check, such as
the meaning of the model URI, and fields of the pod template that a pod does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sluicegate.api import names
from sluicegate.api.resource import InvalidResource, Manifest, ModelDeployment, decode


class MissingExtra(Exception):
    """A package of the extra `cli` is not installed. The text is the message for the user."""

    def __init__(self, module: str | None) -> None:
        super().__init__(f'the Python package {module} is not installed: run pip install "sluicegate[cli]"')


class FieldProblem(NamedTuple):
    """One problem of one resource."""

    path: str
    """NAMESPACE/NAME of the resource."""
    field: str
    """Path of the field, such as `spec.canary.weight`."""
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.field}: {self.message}"


Check = Callable[[ModelDeployment], Iterable[FieldProblem]]
"""A rule of the operator."""


def is_ours(document: Manifest) -> bool:
    """Tell whether `document` is a ModelDeployment of any API version, valid or not."""
    group = str(document.get("apiVersion", "")).partition("/")[0]
    return document.get("kind") == names.KIND and group in (names.GROUP, "")


def metadata_of(document: Manifest) -> Manifest:
    """Return the metadata of `document`, which is empty where it has none."""
    return document.get("metadata") or {}


def path_of(document: Manifest) -> str:
    """Return NAMESPACE/NAME of `document`, with placeholders for what it lacks."""
    metadata = metadata_of(document)
    return f"{metadata.get('namespace') or 'default'}/{metadata.get('name') or '(no name)'}"


def validate(documents: Iterable[Manifest], extra: Sequence[Check] = ()) -> list[FieldProblem]:
    """Return the problems of the ModelDeployments among `documents`.

    Args:
        documents: Kubernetes objects, see `documents.read`. Those that are not ModelDeployments are ignored.
        extra: The operator's rules, which check the resources that pass the rules of the CRD.

    Raises:
        MissingExtra: A package that evaluates the rules of the CRD is not installed.
    """
    return [problem for document in documents if is_ours(document) for problem in _problems(document, extra)]


def _problems(document: Manifest, extra: Sequence[Check]) -> list[FieldProblem]:
    try:
        from sluicegate.cli.validation.crd import problems
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name) from error
    path = path_of(document)
    schema_problems = [FieldProblem(path, problem.field, problem.message) for problem in problems(document)]
    if schema_problems:
        return schema_problems
    try:
        resource = decode(document)
    except InvalidResource as error:
        return [FieldProblem(path, "spec", str(error))]
    return [problem for check in extra for problem in check(resource)]
