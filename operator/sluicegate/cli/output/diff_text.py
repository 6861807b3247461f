"""What an apply would change, as text: the difference of two simulated outcomes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from sluicegate.api import names
from sluicegate.api.rollout import Step
from sluicegate.api.status import ModelDeploymentStatus, RevisionStatus, Role
from sluicegate.cli.output.step_text import course, listed
from sluicegate.core.snapshot.assessment import assess
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.simulation.settle import Address, Manifest, Outcome

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
_LIVE = (Role.STABLE.value, Role.TARGET.value, Role.CANARY.value)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One ModelDeployment as it is, and as it would be."""

    live: Manifest | None
    """The live object, or None where it does not exist yet."""
    wanted: Manifest
    snapshot: Snapshot
    """The snapshot of the cluster, with the spec to apply."""
    before: Outcome | None
    """The outcome of the live object, or None where there is none."""
    after: Outcome
    inputs: Mapping[str, Mapping[str, Any]]
    """The recorded parts of the existing revisions, by hash."""

    @property
    def fields(self) -> list[str]:
        """Return the fields of the ModelDeployment that differ, as `PATH: OLD -> NEW`."""
        return list(_fields(_own(self.live or {}), _own(self.wanted), "")) if self.live is not None else []

    @property
    def changed(self) -> bool:
        """Tell whether the apply changes anything."""
        return self.live is None or bool(self.fields) or self._children(self.before) != self._children(self.after)

    def _children(self, outcome: Outcome | None) -> dict[Address, Manifest]:
        return outcome.manifests if outcome is not None else {}


def sentences(found: Comparison) -> Iterator[str]:
    """Yield what the user needs to know before the apply, the causes first."""
    yield from found.fields
    problem = found.after.problem
    if problem is not None:
        yield f"it would not come true as things are: {problem.reason}: {problem.message}"
    if found.before is not None and found.before.manifests == found.after.manifests:
        if found.changed and problem is None:
            yield "no child changes, and no pod restarts"
            yield from _steps_to_come(found)
        return
    yield from _revisions(found)
    yield from _steps(found)
    yield from _pods(found)
    yield from _weights(found)
    yield from _others(found)


def manifests(found: Comparison) -> Iterator[str]:
    """Yield the changes of the ModelDeployment and its children as unified diffs."""
    name = found.snapshot.resource.metadata.name
    before = dict(found.before.manifests) if found.before is not None else {}
    after = dict(found.after.manifests)
    own: Address = (names.KIND, name)
    pairs: list[tuple[Address, Any, Any]] = [
        (own, _own(found.live) if found.live is not None else None, _own(found.wanted))
    ]
    pairs += [(address, before.get(address), after.get(address)) for address in sorted({*before, *after})]
    for (kind, called), old, new in pairs:
        if old != new:
            label = f"{kind}/{found.snapshot.resource.metadata.namespace}/{called}"
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
    parts = [each or {} for each in (old, new)]
    if any(parts) and all(isinstance(each, dict) for each in parts):
        for key in sorted({*parts[0], *parts[1]}):
            yield from _fields(parts[0].get(key), parts[1].get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _fields(*pair, f"{path}[{index}]")
    elif old != new:
        yield f"{path}: {_word(old)} -> {_word(new)}"


def _word(value: Any) -> str:
    if value is None:
        return "(absent)"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _by_hash(status: ModelDeploymentStatus) -> dict[str, RevisionStatus]:
    return {entry.revision: entry for entry in status.revisions}


def _holder(status: ModelDeploymentStatus | None, role: str) -> RevisionStatus | None:
    entries = status.revisions if status is not None else ()
    return next((entry for entry in entries if entry.role == role), None)


def _revisions(found: Comparison) -> Iterator[str]:
    """Yield the revisions that begin to serve, and how they differ from their base."""
    before = _by_hash(found.before.status) if found.before is not None else {}
    for entry in found.after.status.revisions:
        old = before.get(entry.revision)
        if entry.role not in _LIVE or (old is not None and old.role == entry.role):
            continue
        what = f"{entry.name} ({entry.model})"
        if old is not None and old.role in _LIVE:
            yield f"{what} becomes {entry.role} instead of {old.role}, with the same pods"
        elif entry.revision in found.snapshot.revisions:
            yield f"back to revision {what} as {entry.role}: it is kept, and its pods start again"
        else:
            yield f"new revision {what} as {entry.role}{_because(found, entry)}"


def _steps(found: Comparison) -> Iterator[str]:
    """Yield the steps by which a new revision begins to serve.

    `settled` only shows where the steps end.
    """
    wanted = found.snapshot.resource.spec.rollout.steps
    stable = _holder(found.snapshot.resource.status, Role.STABLE.value)
    serving = _holder(found.after.status, Role.STABLE.value)
    if not wanted or serving is None or found.after.problem is not None:
        return
    if stable is None:
        yield "the first revision takes over whole: spec.rollout.steps are for the versions after it"
    elif stable.revision != serving.revision:
        yield f"{serving.name} will go through {_through(found, wanted)}"
    else:
        yield from _steps_to_come(found)


def _steps_to_come(found: Comparison) -> Iterator[str]:
    """Yield what changed steps mean where nothing else changes."""
    wanted = found.snapshot.resource.spec.rollout.steps
    if wanted and any(each.startswith("spec.rollout.steps") for each in found.fields):
        rollout = course(found.snapshot.resource)
        if rollout is not None and rollout.moving:
            yield (
                "the rollout that is under way keeps its weight, and goes on at the first of the new steps that is not "
                "below it"
            )
        yield f"a new version will go through {_through(found, wanted)}"


def _through(found: Comparison, wanted: Sequence[Step]) -> str:
    analysis = found.snapshot.resource.spec.rollout.analysis
    judged = f", judged by {', '.join(each.name for each in analysis.metrics)}" if analysis and analysis.metrics else ""
    return f"{'1 step' if len(wanted) == 1 else f'{len(wanted)} steps'}: {listed(wanted)}, then 100%{judged}"


def _because(found: Comparison, entry: RevisionStatus) -> str:
    status = found.before.status if found.before is not None else None
    base = _holder(status, entry.role) or _holder(status, Role.STABLE.value)
    if base is None or base.revision not in found.inputs or entry.revision not in found.after.intents:
        return ""
    old, new = found.inputs[base.revision], found.after.intents[entry.revision].identity
    differ = [key for key in _INPUTS if old.get(key) != new.get(key)]
    if "version" in differ and "source" in differ:
        differ.remove("source")
    causes = [cause for key in differ for cause in _fields(old.get(key), new.get(key), _INPUTS[key])]
    return f": unlike {base.name} it has {'; '.join(causes)}" if causes else ""


def _pods(found: Comparison) -> Iterator[str]:
    """Yield which pods start, end and stay."""
    name = found.snapshot.resource.metadata.name
    after = _by_hash(found.after.status)
    assessment = assess(found.snapshot)
    there = {revision: assessment.of(revision).live for revision in found.snapshot.pods}
    moved = False
    for revision in sorted({*(each for each in there if there[each]), *found.after.pods}):
        now, then, child = (
            len(there.get(revision, ())),
            found.after.pods.get(revision, 0),
            names.child_name(name, revision),
        )
        if then > now:
            moved = True
            yield f"{_count(then - now)} of {child} start{'s' if then - now == 1 else ''} ({now} -> {then})"
        elif then == 0:
            moved = True
            pods = ", ".join(sorted(pod.name for pod in there[revision]))
            kept = "the revision is kept without pods" if revision in after else "the revision is removed"
            yield (
                f"{_count(now)} of {child} drain{'s' if now == 1 else ''} once nothing needs "
                f"{'it' if now == 1 else 'them'} ({pods}); {kept}"
            )
        elif then < now:
            moved = True
            yield f"{_count(now - then)} of {child} end{'s' if now - then == 1 else ''} ({now} -> {then})"
        else:
            yield f"{_count(now)} of {child} go{'es' if now == 1 else ''} on, without a restart"
    if not moved and found.live is not None:
        yield "no pod starts, ends or restarts"


def _count(number: int) -> str:
    return "1 pod" if number == 1 else f"{number} pods"


def _weights(found: Comparison) -> Iterator[str]:
    """Yield the changes of the revisions' weights, from status to the outcome."""
    before, after = _by_hash(found.snapshot.resource.status), _by_hash(found.after.status)
    for revision in sorted({*before, *after}):
        old = before[revision].weight if revision in before else 0
        new = after[revision].weight if revision in after else 0
        if old != new:
            yield f"requests to {(after.get(revision) or before[revision]).name}: {old}% -> {new}%"


def _others(found: Comparison) -> Iterator[str]:
    """Yield the changes of the HorizontalPodAutoscaler and the HTTPRoute.

    The weights of the HTTPRoute are left out, because `_weights` yields them.
    """
    before = found.before.manifests if found.before is not None else {}
    for address in sorted({*before, *found.after.manifests}):
        kind, name = address
        old, new = before.get(address), found.after.manifests.get(address)
        if kind not in ("HorizontalPodAutoscaler", "HTTPRoute") or old == new:
            continue
        if old is None or new is None:
            told = _made(new) if new is not None else "is removed"
            yield f"{kind} {name} {told}"
            continue
        for line in _fields(old["spec"], new["spec"], "spec"):
            if ".backendRefs" not in line.partition(":")[0]:
                yield f"{kind} {name}: {line}"


def _made(manifest: Manifest) -> str:
    spec = manifest["spec"]
    if manifest["kind"] == "HorizontalPodAutoscaler":
        return f"is made: {spec['minReplicas']} to {spec['maxReplicas']} pods"
    return f"is made, attached to {', '.join(each['name'] for each in spec['parentRefs'])}"
