"""Fields that the API has and this release does not act on yet: refused by name, never silently ignored."""

from __future__ import annotations

from collections.abc import Iterator

from sluicegate.api.resource import ModelDeployment
from sluicegate.core.facts import Problem


def unsupported_fields(resource: ModelDeployment) -> Iterator[str]:
    """Paths of the fields that `resource` uses and nothing acts on."""
    spec = resource.spec
    if spec.runtime.dependencies == "Install":
        yield "spec.runtime.dependencies"
    if spec.canary is not None and spec.canary.runtime is not None and spec.canary.runtime.dependencies == "Install":
        yield "spec.canary.runtime.dependencies"


def unsupported(resource: ModelDeployment) -> Problem | None:
    """The problem of using such fields, or None."""
    fields = list(unsupported_fields(resource))
    if not fields:
        return None
    verb = "is" if len(fields) == 1 else "are"
    return Problem(
        "Unsupported", f"{', '.join(fields)} {verb} not supported by this version of Sluicegate: remove it, or upgrade."
    )
