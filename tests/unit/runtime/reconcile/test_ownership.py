"""The truth table of ownership: which objects the operator writes, deletes, adopts or leaves unchanged."""

from typing import Any

import pytest
from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import Meta
from sluicegate.render.children import owner_reference
from sluicegate.render.diff import FINGERPRINT
from sluicegate.runtime.reconcile.ownership import Ownership, adopted_references, claim, ownership

OWNER = Meta(name="churn", namespace="shop", uid="now")
LABELS = names.revision_labels("churn", RevisionHash("0123456789"))
APPLIED = {FINGERPRINT: "1f"}
OURS = owner_reference(OWNER)
EARLIER = {**OURS, "uid": "before"}
NOT_CONTROLLER = {"apiVersion": "app.k8s.io/v1beta1", "kind": "Application", "name": "all", "uid": "a"}
CONTROLLER = {**NOT_CONTROLLER, "controller": True}

OWNED, ORPHANED, OF_EARLIER, FOREIGN = Ownership


def child(*owners: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """Return the metadata of a child that the operator applied, with these owner references and changes."""
    applied = {"name": "churn-0123456789", "namespace": "shop", "labels": LABELS, "annotations": APPLIED}
    return {**applied, "ownerReferences": list(owners), **metadata}


def without(label: str) -> dict[str, str]:
    return {key: value for key, value in LABELS.items() if key != label}


TABLE = {
    "our reference": (child(OURS), OWNED),
    "our reference and another": (child(CONTROLLER, {**OURS, "controller": False}), OWNED),
    "our reference and an earlier one": (child(EARLIER, OURS), OWNED),
    "our reference, no label": (child(OURS, labels={}), OWNED),
    "our reference, another name": (child(OURS, name="my-lb"), OWNED),
    "our reference, being deleted": (child(OURS, deletionTimestamp="now"), OWNED),
    "an older API version of ours": (child({**OURS, "apiVersion": f"{names.GROUP}/v1"}), OWNED),
    "our UID, another kind": (child({**OURS, "kind": "Model"}), FOREIGN),
    "our UID, another group": (child({**OURS, "apiVersion": "apps/v1"}), FOREIGN),
    "our UID, another name": (child({**OURS, "name": "other"}), FOREIGN),
    "no reference": (child(), ORPHANED),
    "no reference, of no revision": (child(name="churn", labels=names.owner_labels("churn")), ORPHANED),
    "no reference, another owner that is no controller": (child(NOT_CONTROLLER), ORPHANED),
    "no reference, another controller": (child(CONTROLLER), FOREIGN),
    "no reference, no annotation, as kubectl expose makes it": (child(annotations={}), FOREIGN),
    "no reference, another name": (child(name="my-lb"), FOREIGN),
    "no reference, the name of a child of no revision": (child(name="churn"), FOREIGN),
    "no reference, not managed by us": (child(labels=without(names.LABEL_MANAGED_BY)), FOREIGN),
    "no reference, label of another resource": (child(labels={**LABELS, names.LABEL_DEPLOYMENT: "other"}), FOREIGN),
    "no reference, no label of a resource": (child(labels=without(names.LABEL_DEPLOYMENT)), FOREIGN),
    "no reference, being deleted": (child(deletionTimestamp="now"), FOREIGN),
    "no metadata but a name": ({"name": "churn"}, FOREIGN),
    "earlier reference": (child(EARLIER), OF_EARLIER),
    "earlier reference and another that is no controller": (child(EARLIER, NOT_CONTROLLER), OF_EARLIER),
    "earlier reference and another controller": (child({**EARLIER, "controller": False}, CONTROLLER), FOREIGN),
    "earlier reference, no annotation": (child(EARLIER, annotations={}), FOREIGN),
    "earlier reference, another name": (child(EARLIER, name="my-lb"), FOREIGN),
    "earlier reference, being deleted": (child(EARLIER, deletionTimestamp="now"), FOREIGN),
    "earlier reference of another name": (child({**EARLIER, "name": "other"}), FOREIGN),
}


@pytest.mark.parametrize(("metadata", "expected"), TABLE.values(), ids=TABLE)
def test_truth_table(metadata: dict[str, Any], expected: Ownership) -> None:
    assert ownership(claim(metadata), OWNER) is expected


@pytest.mark.parametrize(("metadata", "expected"), TABLE.values(), ids=TABLE)
def test_what_is_adopted_is_owned_then(metadata: dict[str, Any], expected: Ownership) -> None:
    if expected in (ORPHANED, OF_EARLIER):
        references = adopted_references(metadata, OWNER)
        assert ownership(claim({**metadata, "ownerReferences": references}), OWNER) is OWNED
        assert sum(bool(reference.get("controller")) for reference in references) == 1
        assert EARLIER not in references
        assert (NOT_CONTROLLER in references) is (NOT_CONTROLLER in metadata.get("ownerReferences", ()))
