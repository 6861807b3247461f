"""The hash of a revision: every part of the intent changes it, nothing else does."""

from typing import Any

import pytest
import sluicegate
from sluicegate.api.resource import decode
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.snapshot.revision_spec import intent_of

MODEL = ResolvedModel("models:/churn@champion", "mlflow-artifacts:/1/a", "churn", "3")
BASE: dict[str, Any] = {"model": {"uri": "models:/churn@champion"}}


def hash_of(
    spec: dict[str, Any] | None = None,
    model: ResolvedModel = MODEL,
    registry: str | None = "default",
    **metadata: Any,
) -> str:
    resource = decode({"metadata": {"name": "churn", **metadata}, "spec": {**BASE, **(spec or {})}})
    return intent_of(resource, model, registry).hash


CHANGES: list[dict[str, Any]] = [
    {"registry": "other"},
    {"registry": None},
    {"model": ResolvedModel(MODEL.uri, MODEL.source, MODEL.name, "4")},
    {"model": ResolvedModel(MODEL.uri, MODEL.source, "other", "3")},
    {"model": ResolvedModel(MODEL.uri, "mlflow-artifacts:/2/a", MODEL.name, "3")},
    {"spec": {"model": {**BASE["model"], "inlineRegistry": {"trackingUri": "http://m", "secretRef": {"name": "s"}}}}},
    {"spec": {"runtime": {"name": "mlserver"}}},
    {"spec": {"runtime": {"image": "a:1"}}},
    {"spec": {"runtime": {"args": ["a"]}}},
    {"spec": {"runtime": {"args": ["a", "b"]}}},
    {"spec": {"runtime": {"env": [{"name": "A", "value": "1"}]}}},
    {"spec": {"runtime": {"env": [{"name": "A", "value": "2"}]}}},
    {"spec": {"runtime": {"dependencies": "Install"}}},
    {"spec": {"resources": {"limits": {"memory": "1Gi"}}}},
    {"spec": {"resources": {"requests": {"memory": "1Gi"}}}},
    {"spec": {"gpu": {}}},
    {"spec": {"gpu": {"count": 1}}},
    {"spec": {"gpu": {"count": 2}}},
    {"spec": {"podTemplate": {"metadata": {"labels": {"a": "b"}}}}},
    {"annotations": {"sluicegate.dev/roll": "1"}},
    {"annotations": {"sluicegate.dev/roll": "2"}},
]
SAME: list[dict[str, Any]] = [
    {"spec": {"scaling": {"replicas": 7}}},
    {"spec": {"scaling": {"min": 2, "max": 4}}},
    {"spec": {"traffic": {"timeout": "5s"}}},
    {"spec": {"rollout": {"historyLimit": 1}}},
    {"spec": {"paused": True}},
    {"spec": {"runtime": {}, "resources": {}, "podTemplate": {}}},
    {"spec": {"model": {"uri": "models:/churn/3"}}},
    {"model": ResolvedModel("models:/churn/3", MODEL.source, "churn", "3", run_id="r", model_id="m-1")},
    {"annotations": {"team": "a"}, "uid": "u", "generation": 9, "resourceVersion": "5"},
]


def test_every_part_of_the_intent_gives_a_hash_of_its_own() -> None:
    hashes = [hash_of(), *(hash_of(**change) for change in CHANGES)]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize("change", SAME, ids=str)
def test_what_is_no_intent_does_not_change_it(change: dict[str, Any]) -> None:
    assert hash_of(**change) == hash_of()


def test_neither_does_another_version_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hash_of()
    monkeypatch.setattr(sluicegate, "__version__", "99.0.0")
    assert hash_of() == before


def test_it_is_this_one_for_ever() -> None:
    """Check that the hashes stay the same across releases.

    An upgrade whose hashes differ would restart the pods of every model. Never change these expected values.
    """
    assert hash_of() == "x4q84rjhwp"
    rich = {
        "runtime": {"name": "custom", "image": "a:1", "env": [{"name": "A", "value": "1"}]},
        "resources": {"limits": {"memory": "1Gi"}},
    }
    assert hash_of(rich) == "zpcdbfhdft"
    gpu = {"count": 2, "products": ["NVIDIA-L4"], "minMemory": "20Gi", "tolerations": [{"operator": "Exists"}]}
    assert hash_of({"gpu": gpu}) == "8v75pcqv6f"
