"""The steps and the progress of a rollout as text, for all commands.

All functions here are pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sluicegate.api.resource import ModelDeployment
from sluicegate.api.rollout import Step
from sluicegate.api.status import Phase, RolloutStatus
from sluicegate.core.snapshot.overrides import Overrides


@dataclass(frozen=True, slots=True)
class Course:
    """The rollout of one revision with steps, as status records it."""

    steps: tuple[Step, ...]
    status: RolloutStatus
    target: str
    """Hash of the candidate."""

    @property
    def index(self) -> int:
        """Return the index of the current step, from 0.

        Once all steps are done, this is the number of steps.
        """
        return min(self.status.step_index or 0, len(self.steps))

    @property
    def begun(self) -> bool:
        """Tell whether the first step has begun."""
        return self.status.step_index is not None

    @property
    def through(self) -> bool:
        """Tell whether all steps are done."""
        return self.index >= len(self.steps)

    @property
    def moving(self) -> bool:
        """Tell whether the rollout is in progress."""
        return self.status.phase.moving

    @property
    def for_a_person(self) -> bool:
        """Tell whether the current step waits until an approver promotes the rollout."""
        if self.through or self.status.phase is not Phase.PAUSED or self.status.until is not None:
            return False
        pause = self.steps[self.index].pause
        return pause is not None and pause.duration is None

    @property
    def place(self) -> str:
        """Return where the rollout is, such as `step 2 of 4 (25%, hold 10m)`."""
        if self.through:
            return f"behind all {len(self.steps)} steps"
        return f"step {self.index + 1} of {len(self.steps)} ({described(self.steps[self.index])})"


def course(resource: ModelDeployment) -> Course | None:
    """Return the rollout with steps that status records.

    Returns:
        The rollout, in progress or ended without a promotion. None where there is none.
    """
    steps, status = resource.spec.rollout.steps, resource.status.rollout
    if not steps or status is None or status.target is None or status.phase is Phase.IDLE:
        return None
    return Course(steps, status, status.target)


def paused_by_a_person(resource: ModelDeployment, revision: str) -> bool:
    """Tell whether the annotation `pause` holds the rollout of `revision`."""
    return Overrides.parse(resource).pause == revision


def described(step: Step) -> str:
    """Describe what a step does, such as `25%, hold 10m`."""
    return ", ".join([*shares(step), *waits(step)])


def shares(step: Step) -> list[str]:
    """Return the traffic shares that a step gives the candidate."""
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
    """Return what a step waits for."""
    parts = [] if step.hold is None else [f"hold {step.hold}"]
    if step.pause is not None:
        parts.append(f"pause {step.pause.duration}" if step.pause.duration is not None else "pause until promoted")
    return parts


def listed(steps: Sequence[Step]) -> str:
    """Describe all steps in one line.

    An example is `5% (hold 5m), 25% (hold 10m), pause until promoted`.
    """
    told = []
    for step in steps:
        given, then = shares(step), waits(step)
        told.append(", ".join(given) + f" ({', '.join(then)})" if given and then else ", ".join(given or then))
    return ", ".join(told)
