"""The steps and the progress of a rollout as text, for all commands.

All functions here are pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sluicegate.api.resource import ModelDeployment
from sluicegate.api.rollout import Step
from sluicegate.api.status import Phase, RolloutStatus
from sluicegate.api.traffic import HeaderMatch, MirrorSpec
from sluicegate.core.snapshot.overrides import Overrides


@dataclass(frozen=True, slots=True)
class Rollout:
    """The rollout of one revision with steps, as status records it."""

    steps: tuple[Step, ...]
    status: RolloutStatus
    candidate: str
    """Hash of the revision that is being rolled out."""

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
    def done(self) -> bool:
        """Tell whether all steps are done."""
        return self.index >= len(self.steps)

    @property
    def moving(self) -> bool:
        """Tell whether the rollout is in progress."""
        return self.status.phase.moving

    @property
    def awaits_approval(self) -> bool:
        """Tell whether the current step waits until an approver promotes the rollout."""
        if self.done or self.status.phase is not Phase.PAUSED or self.status.until is not None:
            return False
        pause = self.steps[self.index].pause
        return pause is not None and pause.duration is None

    @property
    def place(self) -> str:
        """Return where the rollout is, such as `step 2 of 4 (25%, hold 10m)`."""
        if self.done:
            return f"after all {len(self.steps)} steps"
        return f"step {self.index + 1} of {len(self.steps)} ({described(self.steps[self.index])})"


def rollout_of(resource: ModelDeployment) -> Rollout | None:
    """Return the rollout with steps that status records.

    Returns:
        The rollout, in progress or ended without a promotion. None where there is none.
    """
    steps, status = resource.spec.rollout.steps, resource.status.rollout
    if not steps or status is None or status.candidate is None or status.phase is Phase.IDLE:
        return None
    return Rollout(steps, status, status.candidate)


def paused_by_user(resource: ModelDeployment, revision: str) -> bool:
    """Tell whether the annotation `pause` holds the rollout of `revision`."""
    return Overrides.parse(resource).pause == revision


def described(step: Step) -> str:
    """Describe what a step does, such as `25%, hold 10m`."""
    return ", ".join([*shares(step), *waits(step)])


def shares(step: Step) -> list[str]:
    """Return the traffic shares that a step gives the candidate."""
    weight = [] if step.weight is None else [f"{step.weight}%"]
    no_match = ["no header match"] if step.match == () else []
    return [*weight, *matches(step.match or ()), *no_match, *mirror(step.mirror)]


def matches(rules: Iterable[HeaderMatch]) -> list[str]:
    """Return the header rules, such as `header x-cohort=beta`. A regular expression has `~`."""
    signs = {"RegularExpression": "~"}
    return [f"header {rule.header.name}{signs.get(rule.header.type or '', '=')}{rule.header.value}" for rule in rules]


def mirror(spec: MirrorSpec | None) -> list[str]:
    """Return the share of the requests that are mirrored, such as `mirror 10%`."""
    return [] if spec is None else [f"mirror {spec.percent}%"]


def waits(step: Step) -> list[str]:
    """Return what a step waits for."""
    hold = [] if step.hold is None else [f"hold {step.hold}"]
    if step.pause is None:
        return hold
    return [*hold, "pause until promoted" if step.pause.duration is None else f"pause {step.pause.duration}"]


def listed(steps: Sequence[Step]) -> str:
    """Describe all steps in one line.

    An example is `5% (hold 5m), 25% (hold 10m), pause until promoted`.
    """
    return ", ".join(_summary(", ".join(shares(step)), ", ".join(waits(step))) for step in steps)


def _summary(share: str, wait: str) -> str:
    return f"{share} ({wait})" if share and wait else share or wait
