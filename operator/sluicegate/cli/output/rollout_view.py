"""How far a rollout by steps is, as data: its steps, what it is measured by, and what a person may do next.

As every view it has no clock, so two equal ones mean that nothing has happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

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
    """Past, Now, Ahead, or Failed: where it was taken back."""
    weight: int
    does: str


@dataclass(frozen=True, slots=True)
class MetricView:
    """One metric of the analysis, as far as it is known."""

    name: str
    kind: str
    """Its type, which says what its figures are."""
    reading: Reading
    decides: bool = True
    """Whether the rollout goes by it; a dry run only shows what it comes to."""


@dataclass(frozen=True, slots=True)
class Typed:
    """How the user types a command here."""

    program: str = "sluicegate"
    """Or `kubectl sluicegate`, where it was called so."""
    where: str = ""
    """What names the namespace, ` -n shop`; nothing where the context does."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A command that may be typed now, and what it does."""

    command: str
    does: str


AS_USUAL = Typed()


@dataclass(frozen=True, slots=True)
class ProgressView:
    """The rollout."""

    phase: Phase
    place: str
    """Where it is, to go on with behind the phase."""
    since: datetime | None
    """When its step began."""
    until: datetime | None
    """When the step's hold or pause is over, if time ends it."""
    weight: int | None
    """Percent of the requests that the step gives."""
    accepted: int | None
    measured: float | None
    why: str | None
    """Why it is where it is."""
    verdict: str | None
    judged_at: datetime | None
    outcome: str | None
    steps: tuple[StepView, ...]
    metrics: tuple[MetricView, ...]
    not_live: str | None
    """Why the figures are not live, where they are not."""
    next: tuple[Advice, ...]


def progress(resource: ModelDeployment, look: Look, typed: Typed = AS_USUAL) -> ProgressView | None:
    """The view of a rollout by steps; None where there is none to tell of.

    Args:
        resource: It.
        look: What the operator measures now.
        typed: How commands are typed.
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
        why=status.message if status.reason != "Holding" else None,  # then the time says it
        verdict=verdict_words(verdict) if verdict is not None else None,
        judged_at=time_of(verdict.at) if verdict is not None else None,
        outcome=verdict.outcome if verdict is not None else None,
        steps=_steps(found),
        metrics=_metrics(resource, measured, verdict),
        not_live=look.why_not if look.measured is None and found.moving else None,
        next=advice(resource, found, typed),
    )


def verdict_words(verdict: RolloutVerdict) -> str:
    """What the analysis came to, and from what."""
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
    """What status says of a metric: the one that decided last is known, of the others the limit."""
    if verdict is None or verdict.metric != metric.name:
        return Reading(limit=metric.limit)
    return Reading(verdict.value, verdict.stable_value, verdict.limit, verdict.samples, verdict.outcome)


def advice(resource: ModelDeployment, found: Course, typed: Typed) -> tuple[Advice, ...]:
    """The commands that make sense now, the likeliest first."""
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
