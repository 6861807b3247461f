"""Fields that the API has and this release does not act on yet: refused by name, never silently ignored."""

from __future__ import annotations

from collections.abc import Iterator

from sluicegate.api import names
from sluicegate.api.resource import ModelDeployment
from sluicegate.core.facts import Problem


def unsupported_fields(resource: ModelDeployment) -> Iterator[str]:
    """Paths of the fields that `resource` uses and nothing acts on."""
    spec = resource.spec
    if spec.rollout.steps:
        yield "spec.rollout.steps"
    if spec.rollout.analysis is not None:
        yield "spec.rollout.analysis"
    for annotation in (
        *(() if spec.canary is not None else (names.ANNOTATION_PROMOTE,)),
        names.ANNOTATION_PAUSE,
    ):
        if annotation in resource.metadata.annotations:
            yield f"metadata.annotations[{annotation}]"


def unsupported(resource: ModelDeployment) -> Problem | None:
    """The problem of using such fields, or None."""
    fields = list(unsupported_fields(resource))
    if not fields:
        return None
    verb = "is" if len(fields) == 1 else "are"
    return Problem(
        "Unsupported", f"{', '.join(fields)} {verb} not supported by this version of Sluicegate: remove it, or upgrade."
    )
