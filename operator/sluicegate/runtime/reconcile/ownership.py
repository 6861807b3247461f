"""Which objects belong to a ModelDeployment: the rule for every write, deletion and adoption.

Labels prove nothing, because `kubectl expose` copies them and any user can set them. An object belongs to a
ModelDeployment if it has an owner reference with the group, kind, name and UID of it. The operator writes and deletes
no other object.

An object without such a reference is adopted if the operator applied it for a ModelDeployment of the same name. This
needs all of the following, see `Claim.applied_for`:

- the labels of a child;
- the name of a child: `NAME-HASH` with the hash in its label, or `NAME` for an object of no single revision;
- the annotation with the hash of the applied manifest, which `kubectl expose` does not copy;
- no controller of another kind or name, and no deletion in progress.

`kubectl delete --cascade=orphan` and Velero leave such objects without an owner reference. They are adopted at once.
A reference to an earlier UID shows a ModelDeployment that no longer exists, because two objects of one kind cannot have
the same name. Garbage collection deletes such an object, usually within seconds. So the operator waits, and adopts it
only if it remains.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import Manifest, Meta
from sluicegate.render.children import owner_reference
from sluicegate.render.diff import FINGERPRINT

GARBAGE_COLLECTION_SECONDS: Final = 30.0
"""Seconds that an object with a reference to an earlier UID must remain before it is adopted."""


class Ownership(Enum):
    """What an object is to a ModelDeployment."""

    OWNED = "owned"
    """A child. The operator writes and deletes it."""
    ORPHANED = "orphaned"
    """A child that lost its owner reference. The operator adopts it."""
    OF_EARLIER = "of earlier"
    """A child of an earlier ModelDeployment of the same name. The operator waits for its deletion, and then adopts it.
    """
    FOREIGN = "foreign"
    """Any other object. The operator leaves it unchanged."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One owner reference."""

    name: str | None
    """Name of the ModelDeployment that it refers to. None for any other kind."""
    uid: str
    controller: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What an object says about its owner, in the part that `ownership` needs."""

    references: tuple[Reference, ...]
    applied_for: str | None
    """Name of the ModelDeployment that the operator applied the object for, or None."""


def claim(metadata: Mapping[str, Any]) -> Claim:
    """Return what an object with this metadata says about its owner."""
    references = tuple(_reference(entry) for entry in metadata.get("ownerReferences") or ())
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    name = labels.get(names.LABEL_DEPLOYMENT)
    if (
        not name
        or labels.get(names.LABEL_MANAGED_BY) != names.MANAGER
        or FINGERPRINT not in annotations
        or metadata.get("deletionTimestamp")
    ):
        return Claim(references, None)
    revision = labels.get(names.LABEL_REVISION)
    expected = names.child_name(name, RevisionHash(revision)) if revision else name
    return Claim(references, sys.intern(name) if metadata["name"] == expected else None)


def ownership(claimed: Claim, owner: Meta) -> Ownership:
    """Return what an object is to the ModelDeployment with the metadata `owner`, which exists now."""
    earlier = False
    controlled = False
    for reference in claimed.references:
        if reference.name != owner.name:
            controlled = controlled or reference.controller
        elif reference.uid == owner.uid:
            return Ownership.OWNED
        else:
            earlier = True
    if claimed.applied_for != owner.name or controlled:
        return Ownership.FOREIGN
    return Ownership.OF_EARLIER if earlier else Ownership.ORPHANED


def adopted_references(metadata: Mapping[str, Any], owner: Meta) -> list[Manifest]:
    """Return the owner references of an object once it is adopted.

    References to other owners stay, and references to earlier UIDs of `owner` go.
    """
    entries = metadata.get("ownerReferences") or ()
    return [*(entry for entry in entries if _reference(entry).name != owner.name), owner_reference(owner)]


def _reference(entry: Mapping[str, Any]) -> Reference:
    ours = entry.get("kind") == names.KIND and str(entry.get("apiVersion")).startswith(f"{names.GROUP}/")
    name = sys.intern(str(entry.get("name"))) if ours else None
    return Reference(name, sys.intern(str(entry.get("uid"))), bool(entry.get("controller")))
