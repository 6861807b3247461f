"""What an apply would change, as text: the difference of two simulated outcomes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import Manifest
from sluicegate.api.rollout import Step
from sluicegate.api.status import ModelDeploymentStatus, RevisionStatus, Role
from sluicegate.cli.output.step_text import Rollout, listed, rollout_of
from sluicegate.core.snapshot.assessment import assess
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.simulation.settle import Address, FinalState

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_INPUTS = {
    "registry": "spec.model.registry",
    "registrySecret": "the Secret of spec.model.inlineRegistry",
    "model": "the model",
    "version": "the model's version",
    "source": "the model's source",
    "runtime": "spec.runtime",
    "resources": "spec.resources",
    "gpu": "spec.gpu",
    "podTemplate": "spec.podTemplate",
    "roll": f"the annotation {names.ANNOTATION_ROLL}",
}
"""The parts of a revision: the field of the spec, by the name in the revision's record."""
_RECEIVING = (Role.STABLE, Role.CANDIDATE, Role.CANARY)
"""The roles in which a revision can receive requests."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One ModelDeployment as it is, and as it would be."""

    live: Manifest | None
    """The live object, or None where it does not exist yet."""
    applied: Manifest
    """The object as the apply would store it."""
    snapshot: Snapshot
    """The snapshot of the cluster, with the spec to apply."""
    before: FinalState | None
    """The outcome of the live object, or None where there is none."""
    after: FinalState
    inputs: Mapping[str, Mapping[str, Any]]
    """The recorded parts of the existing revisions, by hash."""

    @property
    def fields(self) -> list[str]:
        """Return the fields of the ModelDeployment that differ, as `PATH: OLD -> NEW`."""
        return list(_fields(_own(self.live or {}), _own(self.applied), "")) if self.live is not None else []

    @property
    def changed(self) -> bool:
        """Tell whether the apply changes anything."""
        return self.live is None or bool(self.fields) or self._children(self.before) != self._children(self.after)

    def _children(self, outcome: FinalState | None) -> dict[Address, Manifest]:
        return outcome.manifests if outcome is not None else {}


def sentences(comparison: Comparison) -> Iterator[str]:
    """Yield what the user needs to know before the apply, the causes first."""
    yield from comparison.fields
    problem = comparison.after.problem
    if problem is not None:
        yield f"this would not take effect now: {problem.reason}: {problem.message}"
    if comparison.before is not None and comparison.before.manifests == comparison.after.manifests:
        if comparison.changed and problem is None:
            yield "no child changes, and no pod restarts"
            yield from _future_steps(comparison)
        return
    yield from _revisions(comparison)
    yield from _steps(comparison)
    yield from _pods(comparison)
    yield from _weights(comparison)
    yield from _others(comparison)


def manifests(comparison: Comparison) -> Iterator[str]:
    """Yield the changes of the ModelDeployment and its children as unified diffs."""
    metadata = comparison.snapshot.resource.metadata
    before = dict(comparison.before.manifests) if comparison.before is not None else {}
    after = dict(comparison.after.manifests)
    own: Address = (names.KIND, metadata.name)
    pairs: list[tuple[Address, Any, Any]] = [
        (own, _own(comparison.live) if comparison.live is not None else None, _own(comparison.applied))
    ]
    pairs += [(address, before.get(address), after.get(address)) for address in sorted({*before, *after})]
    for (kind, name), old, new in pairs:
        if old != new:
            label = f"{kind}/{metadata.namespace}/{name}"
            yield from difflib.unified_diff(_lines(old), _lines(new), f"live {label}", f"applied {label}")


def _lines(manifest: Manifest | None) -> list[str]:
    if manifest is None:
        return []
    return yaml.safe_dump(manifest, sort_keys=True, allow_unicode=True).splitlines(keepends=True)


def _own(raw: Mapping[str, Any]) -> Manifest:
    """Return the parts of a ModelDeployment that users write."""
    metadata = raw.get("metadata") or {}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    kept = {"labels": metadata.get("labels"), "annotations": annotations}
    return {"metadata": {key: value for key, value in kept.items() if value}, "spec": raw.get("spec") or {}}


def _fields(old: Any, new: Any, path: str) -> Iterator[str]:
    """Yield the fields that differ, as `PATH: OLD -> NEW`."""
    parts = [value or {} for value in (old, new)]
    if any(parts) and all(isinstance(part, dict) for part in parts):
        for key in sorted({*parts[0], *parts[1]}):
            yield from _fields(parts[0].get(key), parts[1].get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _fields(*pair, f"{path}[{index}]")
    elif old != new:
        yield f"{path}: {_value(old)} -> {_value(new)}"


def _value(value: Any) -> str:
    if value is None:
        return "(absent)"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _by_hash(status: ModelDeploymentStatus) -> dict[str, RevisionStatus]:
    return {entry.revision: entry for entry in status.revisions}


def _with_role(status: ModelDeploymentStatus | None, role: str) -> RevisionStatus | None:
    entries = status.revisions if status is not None else ()
    return next((entry for entry in entries if entry.role == role), None)


def _revisions(comparison: Comparison) -> Iterator[str]:
    """Yield the revisions that begin to serve, and how they differ from their base."""
    before = _by_hash(comparison.before.status) if comparison.before is not None else {}
    for entry in comparison.after.status.revisions:
        old = before.get(entry.revision)
        if entry.role not in _RECEIVING or (old is not None and old.role == entry.role):
            continue
        title = f"{entry.name} ({entry.model})"
        if old is not None and old.role in _RECEIVING:
            yield f"{title} becomes {entry.role} instead of {old.role}, with the same pods"
        elif entry.revision in comparison.snapshot.revisions:
            yield f"existing revision {title} as {entry.role}: its pods start again"
        else:
            yield f"new revision {title} as {entry.role}{_differences(comparison, entry)}"


def _differences(comparison: Comparison, entry: RevisionStatus) -> str:
    """Return how a new revision differs from the one that it replaces, or an empty text where that is not known."""
    status = comparison.before.status if comparison.before is not None else None
    base = _with_role(status, entry.role) or _with_role(status, Role.STABLE)
    if base is None or base.revision not in comparison.inputs or entry.revision not in comparison.after.intents:
        return ""
    old, new = comparison.inputs[base.revision], comparison.after.intents[entry.revision].identity
    keys = [key for key in _INPUTS if old.get(key) != new.get(key)]
    if "version" in keys and "source" in keys:
        keys.remove("source")
    fields = [field for key in keys for field in _fields(old.get(key), new.get(key), _INPUTS[key])]
    return f": differs from {base.name} in {'; '.join(fields)}" if fields else ""


def _steps(comparison: Comparison) -> Iterator[str]:
    """Yield the steps by which a new revision begins to serve.

    `settled` only shows where the steps end.
    """
    steps = comparison.snapshot.resource.spec.rollout.steps
    stable = comparison.snapshot.resource.status.stable
    after = comparison.after.status.stable
    if not steps or after is None or comparison.after.problem is not None:
        return
    if stable is None:
        yield "the first revision becomes stable at once: spec.rollout.steps apply to later versions"
    elif stable.revision != after.revision:
        rollout = rollout_of(comparison.snapshot.resource)
        if rollout is None or not rollout.moving or rollout.candidate != after.revision or not rollout.begun:
            yield f"{after.name} rolls out in {_step_list(comparison, steps)}"
        elif _changes_steps(comparison):
            yield _continued(rollout)
            yield f"a rollout has {_step_list(comparison, steps)}"
        elif not rollout.done:
            left = steps[rollout.index :]
            yield f"{after.name} continues at step {rollout.index + 1} of {len(steps)}: {listed(left)}, then 100%"
    else:
        yield from _future_steps(comparison)


def _future_steps(comparison: Comparison) -> Iterator[str]:
    """Yield what changed steps mean where nothing else changes."""
    steps = comparison.snapshot.resource.spec.rollout.steps
    if steps and _changes_steps(comparison):
        rollout = rollout_of(comparison.snapshot.resource)
        if rollout is not None and rollout.moving:
            yield _continued(rollout)
        yield f"a new version rolls out in {_step_list(comparison, steps)}"


def _changes_steps(comparison: Comparison) -> bool:
    return any(field.startswith("spec.rollout.steps") for field in comparison.fields)


def _continued(rollout: Rollout) -> str:
    """Return where a rollout in progress continues with changed steps, see `core.rollout.steps.first_step`."""
    weight = rollout.status.weight or 0
    return (
        f"the rollout in progress continues at the first new step with a weight of at least {weight}%, or else at the "
        "last new step"
    )


def _step_list(comparison: Comparison, steps: Sequence[Step]) -> str:
    analysis = comparison.snapshot.resource.spec.rollout.analysis
    metrics = ", ".join(metric.name for metric in analysis.metrics) if analysis is not None else ""
    count = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
    return f"{count}: {listed(steps)}, then 100%{f', with analysis of {metrics}' if metrics else ''}"


def _pods(comparison: Comparison) -> Iterator[str]:
    """Yield which pods start, terminate and keep running."""
    snapshot, assessment = comparison.snapshot, assess(comparison.snapshot)
    live = {revision: assessment.of(revision).live for revision in snapshot.pods}
    revisions = {*(revision for revision, pods in live.items() if pods), *comparison.after.pods}
    moved = False
    for revision in sorted(revisions):
        pods, after = live.get(revision, ()), comparison.after.pods.get(revision, 0)
        moved = moved or len(pods) != after
        yield _pod_change(comparison, revision, sorted(pod.name for pod in pods), after)
    if not moved and comparison.live is not None:
        yield "no pod starts, terminates or restarts"


def _pod_change(comparison: Comparison, revision: RevisionHash, pods: list[str], after: int) -> str:
    child, before = comparison.snapshot.child(revision), len(pods)
    if after > before:
        return f"{_count(after - before, child, 'start')} ({before} -> {after})"
    if after == before:
        return f"{_count(before, child, 'keep')} running, without a restart"
    if after > 0:
        return f"{_count(before - after, child, 'terminate')} ({before} -> {after})"
    kept = any(entry.revision == revision for entry in comparison.after.status.revisions)
    return (
        f"{_count(before, child, 'drain')} once no request can reach {'it' if before == 1 else 'them'} "
        f"({', '.join(pods)}); the revision is {'kept without pods' if kept else 'removed'}"
    )


def _count(number: int, child: str, verb: str) -> str:
    return f"1 pod of {child} {verb}s" if number == 1 else f"{number} pods of {child} {verb}"


def _weights(comparison: Comparison) -> Iterator[str]:
    """Yield the changes of the revisions' weights, from status to the outcome."""
    before, after = _by_hash(comparison.snapshot.resource.status), _by_hash(comparison.after.status)
    for revision in sorted({*before, *after}):
        old = before[revision].weight if revision in before else 0
        new = after[revision].weight if revision in after else 0
        if old != new:
            yield f"requests to {(after.get(revision) or before[revision]).name}: {old}% -> {new}%"


def _others(comparison: Comparison) -> Iterator[str]:
    """Yield the changes of the HorizontalPodAutoscaler and the HTTPRoute.

    The weights of the HTTPRoute are left out, because `_weights` yields them.
    """
    before = comparison.before.manifests if comparison.before is not None else {}
    after = comparison.after.manifests
    for address in sorted({*before, *after}):
        kind, name = address
        old, new = before.get(address), after.get(address)
        if kind not in ("HorizontalPodAutoscaler", "HTTPRoute") or old == new:
            continue
        if new is None:
            yield f"{kind} {name} is deleted"
        elif old is None:
            yield f"{kind} {name} is created{_content(new)}"
        else:
            for field in _fields(old["spec"], new["spec"], "spec"):
                if ".backendRefs" not in field.partition(":")[0]:
                    yield f"{kind} {name}: {field}"


def _content(manifest: Manifest) -> str:
    spec = manifest["spec"]
    if manifest["kind"] == "HorizontalPodAutoscaler":
        return f": {spec['minReplicas']} to {spec['maxReplicas']} pods"
    return f", attached to {', '.join(ref['name'] for ref in spec['parentRefs'])}"
