"""The view of a rollout with steps, as data.

It has the steps, the metrics, and what the user can do next.
As every view it has no clock, so two views are equal where nothing has happened between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.rollout import AnalysisMetric
from sluicegate.api.status import AnalysisStatus, Phase, Role
from sluicegate.cli.output import step_text
from sluicegate.cli.output.live_metrics import LiveMetrics, Measured, Reading
from sluicegate.cli.output.step_text import Rollout
from sluicegate.core.plan import share
from sluicegate.core.snapshot.parse import time_of


class StepState(Enum):
    """Where a rollout is, seen from one of its steps."""

    PAST = "Past"
    CURRENT = "Current"
    AHEAD = "Ahead"
    FAILED = "Failed"
    """The rollout ended at this step, without a promotion."""


@dataclass(frozen=True, slots=True)
class StepView:
    """One step."""

    state: StepState
    weight: int
    action: str
    """What the step does, besides the weight."""


@dataclass(frozen=True, slots=True)
class MetricView:
    """One metric of the analysis, with the values that are known."""

    name: str
    kind: str
    """Type of the metric, which decides the unit of its values."""
    reading: Reading
    decides: bool = True
    """Whether the metric decides on the rollout. A dry run only shows its outcome."""


@dataclass(frozen=True, slots=True)
class Shell:
    """How the user types a command in this shell."""

    program: str = "sluicegate"
    """`sluicegate`, or `kubectl sluicegate` where the user called the kubectl plugin."""
    namespace: str = ""
    """The option for the namespace, such as ` -n shop`. Empty where the context sets the namespace."""

    def command(self, verb: str, name: str) -> str:
        """Return the command that runs `verb` for the ModelDeployment `name`."""
        return f"{self.program} {verb} {name}{self.namespace}"


@dataclass(frozen=True, slots=True)
class Advice:
    """A command that makes sense now, and what it does."""

    command: str
    effect: str


DEFAULT_SHELL = Shell()


@dataclass(frozen=True, slots=True)
class ProgressView:
    """The view of one rollout."""

    phase: Phase
    place: str
    """Where the rollout is, as text that follows the phase."""
    since: datetime | None
    """When the current step began."""
    until: datetime | None
    """When the hold or the pause of the step ends, if its end is a time."""
    weight: int | None
    """Traffic share of the step, in percent."""
    accepted: int | None
    measured: float | None
    reason: str | None
    message: str | None
    """Why the rollout is in this phase. None during a hold, because the remaining time says why."""
    outcome: str | None
    """Outcome of the analysis."""
    measurement: str
    """The metric and the message behind the outcome."""
    judged_at: datetime | None
    steps: tuple[StepView, ...]
    metrics: tuple[MetricView, ...]
    not_live: str | None
    """Why the values are not live, where they are not."""
    next: tuple[Advice, ...]


def progress(resource: ModelDeployment, live: LiveMetrics, shell: Shell = DEFAULT_SHELL) -> ProgressView | None:
    """Return the view of a rollout with steps.

    Args:
        resource: The ModelDeployment.
        live: What the operator measures now.
        shell: How the user types commands.

    Returns:
        The view, or None where no rollout with steps is in progress or has ended without a promotion.
    """
    rollout = step_text.rollout_of(resource)
    if rollout is None or not (rollout.moving or rollout.status.phase.ended):
        return None
    status, result = rollout.status, rollout.status.analysis
    entry = next((entry for entry in resource.status.revisions if entry.revision == rollout.candidate), None)
    measured = live.measured or Measured()
    holding = status.reason == Reason.HOLDING
    return ProgressView(
        phase=status.phase,
        place=f", {rollout.place}" if rollout.done else f" at {rollout.place}",
        since=time_of(status.step_started_at or status.started_at),
        until=time_of(status.until),
        weight=status.weight,
        accepted=entry.accepted_weight if entry is not None else None,
        measured=measured.shares.get(rollout.candidate),
        reason=None if holding else status.reason,
        message=None if holding else status.message,
        outcome=result.outcome if result is not None else None,
        measurement=_measurement(result) if result is not None else "",
        judged_at=time_of(result.at) if result is not None else None,
        steps=_steps(rollout),
        metrics=_metrics(resource, measured, result),
        not_live=live.unknown if live.measured is None and rollout.moving else None,
        next=advice(resource, rollout, shell),
    )


def _measurement(result: AnalysisStatus) -> str:
    if result.metric is None:
        return result.message or ""
    return f"{result.metric}: {result.message or 'no values'}"


def _steps(rollout: Rollout) -> tuple[StepView, ...]:
    current = StepState.CURRENT if rollout.moving else StepState.FAILED
    views = []
    for number, step in enumerate(rollout.steps):
        weight = share.after(rollout.steps[: number + 1]).weight
        if number < rollout.index:
            state = StepState.PAST
        else:
            state = current if number == rollout.index and rollout.begun else StepState.AHEAD
        parts = [part for part in step_text.shares(step) if part != f"{step.weight}%"]
        views.append(StepView(state, weight, ", ".join([*parts, *step_text.waits(step)]) or "continue"))
    return (*views, StepView(current if rollout.done else StepState.AHEAD, 100, "become stable"))


def _metrics(resource: ModelDeployment, measured: Measured, result: AnalysisStatus | None) -> tuple[MetricView, ...]:
    analysis = resource.spec.rollout.analysis
    views = []
    for metric in analysis.metrics if analysis is not None else ():
        reading = measured.metrics.get(metric.name) or _recorded(metric, result)
        views.append(MetricView(metric.name, metric.type, reading, not metric.dry_run))
    return tuple(views)


def _recorded(metric: AnalysisMetric, result: AnalysisStatus | None) -> Reading:
    """Return what status says of a metric.

    Status holds the values of the metric that decided last. Of any other metric only the limit is known.
    """
    if result is None or result.metric != metric.name:
        return Reading(limit=metric.limit)
    return Reading(result.value, result.stable_value, result.limit, result.samples, result.outcome)


def advice(resource: ModelDeployment, rollout: Rollout, shell: Shell) -> tuple[Advice, ...]:
    """Return the commands that make sense now, the most likely one first."""

    def run(verb: str, effect: str) -> Advice:
        return Advice(shell.command(verb, resource.metadata.name), effect)

    abort = run("abort", "returns all requests to stable")
    if rollout.status.phase.returned or _given_up(resource, rollout):
        return (run("retry", "tries again from the first step"),)
    if resource.spec.paused or not rollout.moving or rollout.done:
        return (abort,)
    last = rollout.index + 1 == len(rollout.steps)
    effect = "makes it stable" if last else f"continues with step {rollout.index + 2}"
    if step_text.paused_by_user(resource, rollout.candidate):
        return (run("resume", "continues the rollout"), abort)
    if rollout.awaits_approval:
        return (run("promote", effect), abort)
    pause = run("pause", "holds the rollout at this step")
    if rollout.status.phase is Phase.HOLDING:
        return (run("promote", f"{effect} without waiting"), pause, abort)
    return (pause, abort)


def _given_up(resource: ModelDeployment, rollout: Rollout) -> bool:
    entries = resource.status.revisions
    return any(entry.revision == rollout.candidate and entry.role == Role.FAILED for entry in entries)
