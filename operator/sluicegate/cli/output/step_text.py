"""The steps of a rollout, and where it is: in words, for every command that tells of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sluicegate.api import names
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.rollout import Step
from sluicegate.api.status import Phase, RolloutStatus

"""Phases in which a rollout is under way."""
"""Phases of one that ended without a take-over: where it was stays in sight."""


@dataclass(frozen=True, slots=True)
class Course:
    """The rollout of one revision by steps, as status has it."""

    steps: tuple[Step, ...]
    status: RolloutStatus
    target: str
    """Hash of the revision that takes over."""

    @property
    def index(self) -> int:
        """Of the current step, from 0; the number of steps once all are behind."""
        return min(self.status.step_index or 0, len(self.steps))

    @property
    def begun(self) -> bool:
        """Whether the first step has begun."""
        return self.status.step_index is not None

    @property
    def through(self) -> bool:
        """Whether all steps are behind."""
        return self.index >= len(self.steps)

    @property
    def moving(self) -> bool:
        """Whether it is under way."""
        return self.status.phase.moving

    @property
    def for_a_person(self) -> bool:
        """Whether its step stops it until a person goes on."""
        if self.through or self.status.phase is not Phase.PAUSED or self.status.until is not None:
            return False
        pause = self.steps[self.index].pause
        return pause is not None and pause.duration is None

    @property
    def place(self) -> str:
        """Where it is: `step 2 of 4 (25%, hold 10m)`."""
        if self.through:
            return f"behind all {len(self.steps)} steps"
        return f"step {self.index + 1} of {len(self.steps)} ({described(self.steps[self.index])})"


def course(resource: ModelDeployment) -> Course | None:
    """The rollout by steps that is under way, or was taken back last; None where there is none."""
    steps, status = resource.spec.rollout.steps, resource.status.rollout
    if not steps or status is None or status.target is None or status.phase is Phase.IDLE:
        return None
    return Course(steps, status, status.target)


def named(resource: ModelDeployment, annotation: str) -> tuple[str, int | None] | None:
    """(hash of a revision, step) that an annotation names, as NAME-HASH or as HASH, with /STEP; None without it."""
    value = resource.metadata.annotations.get(annotation)
    if value is None:
        return None
    revision, _, step = value.strip().removeprefix(f"{resource.metadata.name}-").partition("/")
    return revision, int(step) if step.isdecimal() else None


def paused_by_a_person(resource: ModelDeployment, revision: str) -> bool:
    """Whether the annotation `pause` holds the rollout of `revision` at its step."""
    held = named(resource, names.ANNOTATION_PAUSE)
    return held is not None and held[0] == revision


def described(step: Step) -> str:
    """What a step does, such as `25%, hold 10m`."""
    return ", ".join([*shares(step), *waits(step)])


def shares(step: Step) -> list[str]:
    """What a step gives the new version."""
    parts = [] if step.weight is None else [f"{step.weight}%"]
    for match in step.match or ():
        sign = "~" if match.header.type == "RegularExpression" else "="
        parts.append(f"requests with {match.header.name}{sign}{match.header.value}")
    if step.match == ():
        parts.append("no requests by header")
    if step.mirror is not None:
        parts.append(f"copies of {step.mirror.percent}%")
    return parts


def waits(step: Step) -> list[str]:
    """What a step waits for."""
    parts = [] if step.hold is None else [f"hold {step.hold}"]
    if step.pause is not None:
        parts.append(f"pause {step.pause.duration}" if step.pause.duration is not None else "pause until promoted")
    return parts


def listed(steps: Sequence[Step]) -> str:
    """All steps in one line: `5% (hold 5m), 25% (hold 10m), pause until promoted`."""
    told = []
    for step in steps:
        given, then = shares(step), waits(step)
        told.append(", ".join(given) + f" ({', '.join(then)})" if given and then else ", ".join(given or then))
    return ", ".join(told)
