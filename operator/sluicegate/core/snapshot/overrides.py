"""What users ask for by annotations, and by spec.paused.

The value of such an annotation names a revision. So each one is idempotent, and survives restarts of the operator and
the cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import ModelDeployment


class Reference(NamedTuple):
    """The revision that an annotation names, and the step if it names one too."""

    revision: RevisionHash
    step: int | None = None
    """The number of a step of spec.rollout.steps. Numbers start at 1."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """The overrides of one resource. Each names a revision, which need not exist."""

    pin: RevisionHash | None = None
    """The revision that is to serve, whatever the spec asks for."""
    abort: RevisionHash | None = None
    """The revision that must get no requests."""
    retry: RevisionHash | None = None
    """The revision that is to be tried again after it failed."""
    pause: RevisionHash | None = None
    """The revision whose rollout is to stay at its step."""
    promote: Reference | None = None
    """The revision to promote: past all steps, or past the step that the annotation names."""
    paused: bool = False
    """Whether spec.paused is true, so that nothing changes."""

    @classmethod
    def parse(cls, resource: ModelDeployment) -> Overrides:
        """Read the overrides of `resource`."""
        return cls(
            pin=_named(resource, names.ANNOTATION_PIN),
            abort=_named(resource, names.ANNOTATION_ABORT),
            retry=_named(resource, names.ANNOTATION_RETRY),
            pause=_named(resource, names.ANNOTATION_PAUSE),
            promote=reference(resource, names.ANNOTATION_PROMOTE),
            paused=resource.spec.paused,
        )

    def promotes(self, revision: RevisionHash) -> bool:
        """Tell whether `revision` is to skip all remaining steps."""
        return self.promote == Reference(revision)

    def promotes_past(self, revision: RevisionHash, index: int) -> bool:
        """Tell whether the rollout of `revision` is to go on from the step `index`.

        The annotation names this step or a later one.
        """
        if self.promote is None or self.promote.step is None:
            return False
        return self.promote.revision == revision and self.promote.step >= index + 1


def reference(resource: ModelDeployment, annotation: str) -> Reference | None:
    """Return what an annotation names: `HASH` or `HASH/STEP`, or the same after `NAME-`.

    Return None without the annotation. A step that is no number stays part of the hash, so that the value names
    nothing.
    """
    value = _named(resource, annotation)
    if value is None:
        return None
    revision, _, step = value.partition("/")
    return Reference(RevisionHash(revision), int(step)) if step.isdecimal() else Reference(value)


def _named(resource: ModelDeployment, annotation: str) -> RevisionHash | None:
    value = resource.metadata.annotations.get(annotation)
    return RevisionHash(value.strip().removeprefix(f"{resource.metadata.name}-")) if value is not None else None
