"""What is valid, but probably not what the user means.

The API server accepts it, because resources that have it must stay valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sluicegate.api import duration
from sluicegate.api.resource import ModelDeployment
from sluicegate.cli.validation.field_problems import FieldProblem
from sluicegate.core.plan.share import after
from sluicegate.core.rollout.steps import ends_by_itself, hold_of

SHORTEST_DEADLINE = 30.0
"""Seconds below which a progressDeadline leaves pods no time to fetch and load a model."""


def warnings(resource: ModelDeployment) -> Iterator[FieldProblem]:
    """Yield the fields that are valid and probably wrong, each with what to do."""
    path = "/".join(resource.key)
    for field, message in (*_steps(resource), *_deadline(resource)):
        yield FieldProblem(path, f"spec.rollout.{field}", message)
    for field in _nulls(resource.spec.pod_template, "spec.podTemplate"):
        yield FieldProblem(
            path,
            field,
            "is null, which client-side kubectl apply drops, so the field stays: write {$patch: delete}, or use "
            "kubectl apply --server-side",
        )


def _nulls(value: Any, path: str) -> Iterator[str]:
    """Yield the path of every field that is null."""
    if isinstance(value, dict):
        for key, item in value.items():
            if item is None:
                yield f"{path}.{key}"
            yield from _nulls(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nulls(item, f"{path}[{index}]")


def _steps(resource: ModelDeployment) -> Iterator[tuple[str, str]]:
    steps, highest = resource.spec.rollout.steps or (), 0
    for index, step in enumerate(steps):
        weight = after(steps[: index + 1]).weight
        if weight < highest:
            yield (
                f"steps[{index}].weight",
                f"{weight}% is below the {highest}% of an earlier step, so traffic returns to stable: order the steps "
                "by weight",
            )
        highest = max(highest, weight)
        if weight == 100 and (hold_of(step) or not ends_by_itself(step)):
            yield (
                f"steps[{index}]",
                "holds while the candidate receives all requests, so nothing is left to compare with: use a lower "
                "weight, or remove the step, because a rollout ends at 100%",
            )
        if step.hold is not None and not ends_by_itself(step):
            yield (
                f"steps[{index}].hold",
                f"{step.hold} has no effect, because `pause: {{}}` waits for an approval: remove hold, or set "
                "pause.duration",
            )


def _deadline(resource: ModelDeployment) -> Iterator[tuple[str, str]]:
    deadline = resource.spec.rollout.progress_deadline
    if duration.seconds(deadline) < SHORTEST_DEADLINE:
        yield (
            "progressDeadline",
            f"{deadline} is shorter than most models need to load, so new versions fail: use at least "
            f"{SHORTEST_DEADLINE:.0f}s",
        )
