"""The overrides that users set by annotations."""

import pytest
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import ModelDeployment, decode
from sluicegate.core.snapshot.overrides import Overrides, Reference, reference

HASH = RevisionHash("bcdfghjklm")
PROMOTE = "sluicegate.dev/promote"


def _resource(annotations: dict[str, str], **spec: object) -> ModelDeployment:
    metadata = {"name": "churn", "namespace": "team", "annotations": annotations}
    return decode({"metadata": metadata, "spec": {"model": {"uri": "models:/churn/1"}, **spec}})


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (HASH, Reference(HASH)),
        (f"churn-{HASH}", Reference(HASH)),
        (f"  churn-{HASH}\n", Reference(HASH)),
        (f"{HASH}/2", Reference(HASH, 2)),
        (f"churn-{HASH}/12", Reference(HASH, 12)),
        (f"{HASH}/two", Reference(RevisionHash(f"{HASH}/two"))),
        (f"{HASH}/", Reference(RevisionHash(f"{HASH}/"))),
        (f"{HASH}/1/2", Reference(RevisionHash(f"{HASH}/1/2"))),
        (f"other-{HASH}", Reference(RevisionHash(f"other-{HASH}"))),
        ("", Reference(RevisionHash(""))),
    ],
)
def test_reference_has_hash_and_step(value: str, named: Reference) -> None:
    assert reference(_resource({PROMOTE: value}), PROMOTE) == named


def test_resource_without_annotations_has_no_override() -> None:
    assert Overrides.parse(_resource({})) == Overrides()


def test_every_override_is_read_from_its_own_annotation() -> None:
    keys = ("pin", "abort", "retry", "pause", "promote")
    found = Overrides.parse(_resource({f"sluicegate.dev/{key}": key for key in keys}, paused=True))
    assert (found.pin, found.abort, found.retry, found.pause) == ("pin", "abort", "retry", "pause")
    assert found.promote == ("promote", None)
    assert found.paused


@pytest.mark.parametrize(
    ("value", "whole", "past"),
    [(HASH, True, ()), (f"{HASH}/2", False, (0, 1)), (f"{HASH}/x", False, ()), ("other/2", False, ())],
)
def test_promotion_is_whole_or_up_to_a_step(value: str, whole: bool, past: tuple[int, ...]) -> None:
    found = Overrides.parse(_resource({PROMOTE: value}))
    assert found.promotes(HASH) == whole
    assert tuple(index for index in range(4) if found.promotes_past(HASH, index)) == past
