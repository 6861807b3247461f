"""The view of a rollout with steps, as data.

It has the steps, the metrics, and what the user can do next.
As every view it has no clock, so two views are equal where nothing has happened between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.rollout import AnalysisMetric
from sluicegate.api.status import Phase, Role, RolloutVerdict
from sluicegate.cli.output import step_text
from sluicegate.cli.output.live_metrics import Look, Measured, Reading
from sluicegate.cli.output.step_text import Course
from sluicegate.core.plan import share
from sluicegate.core.snapshot.parse import time_of


@dataclass(frozen=True, slots=True)
class StepView:
    """One step."""

    state: str
    """Past, Now, Ahead, or Failed. Failed is the step at which the rollout ended without a promotion."""
    weight: int
    does: str


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
class Typed:
    """How the user types a command in this shell."""

    program: str = "sluicegate"
    """`sluicegate`, or `kubectl sluicegate` where the user called the kubectl plugin."""
    where: str = ""
    """The option for the namespace, such as ` -n shop`. Empty where the context sets the namespace."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A command that makes sense now, and what it does."""

    command: str
    does: str


AS_USUAL = Typed()


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
    why: str | None
    """Why the rollout is in this phase."""
    verdict: str | None
    judged_at: datetime | None
    outcome: str | None
    steps: tuple[StepView, ...]
    metrics: tuple[MetricView, ...]
    not_live: str | None
    """Why the values are not live, where they are not."""
    next: tuple[Advice, ...]


def progress(resource: ModelDeployment, look: Look, typed: Typed = AS_USUAL) -> ProgressView | None:
    """Return the view of a rollout with steps.

    Args:
        resource: The ModelDeployment.
        look: What the operator measures now.
        typed: How the user types commands.

    Returns:
        The view, or None where no rollout with steps is in progress or has ended without a promotion.
    """
    found = step_text.course(resource)
    if found is None or not (found.moving or found.status.phase.ended):
        return None
    status, verdict = found.status, found.status.verdict
    entry = next((each for each in resource.status.revisions if each.revision == found.target), None)
    measured = look.measured or Measured()
    return ProgressView(
        phase=status.phase,
        place=f", {found.place}" if found.through else f" at {found.place}",
        since=time_of(status.step_started_at or status.started_at),
        until=time_of(status.until),
        weight=status.weight,
        accepted=entry.accepted_weight if entry is not None else None,
        measured=measured.shares.get(found.target),
        why=status.message if status.reason != Reason.HOLDING else None,  # while it holds, the remaining time says why
        verdict=verdict_words(verdict) if verdict is not None else None,
        judged_at=time_of(verdict.at) if verdict is not None else None,
        outcome=verdict.outcome if verdict is not None else None,
        steps=_steps(found),
        metrics=_metrics(resource, measured, verdict),
        not_live=look.why_not if look.measured is None and found.moving else None,
        next=advice(resource, found, typed),
    )


def verdict_words(verdict: RolloutVerdict) -> str:
    """Return the outcome of the analysis, with the metric and the message behind it."""
    about = f"{verdict.metric}: " if verdict.metric else ""
    return (
        f"{verdict.outcome}: {about}{verdict.message or 'no figures'}" if verdict.message or about else verdict.outcome
    )


def _steps(found: Course) -> tuple[StepView, ...]:
    here = "Now" if found.moving else "Failed"
    shown = []
    for number, step in enumerate(found.steps):
        weight = share.after(found.steps[: number + 1]).weight
        state = "Past" if number < found.index else "Ahead" if number > found.index or not found.begun else here
        given = [each for each in step_text.shares(step) if each != f"{step.weight}%"]
        shown.append(StepView(state, weight, ", ".join([*given, *step_text.waits(step)]) or "go on"))
    return (*shown, StepView(here if found.through else "Ahead", 100, "take over"))


def _metrics(resource: ModelDeployment, measured: Measured, verdict: RolloutVerdict | None) -> tuple[MetricView, ...]:
    analysis = resource.spec.rollout.analysis
    found = []
    for metric in analysis.metrics if analysis is not None else ():
        reading = measured.metrics.get(metric.name) or _told(metric, verdict)
        found.append(MetricView(metric.name, metric.type, reading, not metric.dry_run))
    return tuple(found)


def _told(metric: AnalysisMetric, verdict: RolloutVerdict | None) -> Reading:
    """Return what status says of a metric.

    Status holds the values of the metric that decided last. Of any other metric only the limit is known.
    """
    if verdict is None or verdict.metric != metric.name:
        return Reading(limit=metric.limit)
    return Reading(verdict.value, verdict.stable_value, verdict.limit, verdict.samples, verdict.outcome)


def advice(resource: ModelDeployment, found: Course, typed: Typed) -> tuple[Advice, ...]:
    """Return the commands that make sense now, the most likely one first."""
    name, spec = resource.metadata.name, resource.spec

    def may(command: str, does: str) -> Advice:
        return Advice(f"{typed.program} {command} {name}{typed.where}", does)

    given_up = any(each.revision == found.target and each.role == Role.FAILED for each in resource.status.revisions)
    if found.status.phase.returned or given_up:
        return (may("retry", "tries it again from the first step"),)
    if spec.paused or not found.moving:
        return (may("abort", "goes back to what serves"),)
    back = may("abort", "sends all requests back to what serves")
    if found.through:
        return (back,)
    ahead = "take over whole" if found.index + 1 == len(found.steps) else f"go on to step {found.index + 2}"
    if step_text.paused_by_a_person(resource, found.target):
        return (may("resume", "lets the steps go on"), back)
    if found.for_a_person:
        return (may("promote", f"lets it {ahead}"), back)
    waiting = (may("promote", f"lets it {ahead} without waiting"),) if found.status.phase is Phase.HOLDING else ()
    return (*waiting, may("pause", "keeps it at this step"), back)
