"""`sluicegate retry`: what the command writes, and what it says where the operator does not act."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from sluicegate.cli.cluster import Failed
from sluicegate.cli.commands import retry
from sluicegate.cli.steering.apply import Named
from sluicegate.kube.client import KubeClient
from sluicegate.kube.kinds import MODEL_DEPLOYMENT, Kind
from sluicegate.kube.wire import Page

from tests.support.rollout_status import NEXT, ROLLED_BACK, raw

ABORT, PAUSE, RETRY = (f"sluicegate.dev/{each}" for each in ("abort", "pause", "retry"))


class Cluster(KubeClient):
    """A cluster with one ModelDeployment, in which no operator runs."""

    def __init__(self, resource: dict[str, Any]) -> None:
        self.resource = resource

    async def get(self, *_: Any, **__: Any) -> Any:
        return self.resource

    async def list(self, kind: Kind, *_: Any, **__: Any) -> Page:
        return Page((msgspec.Raw(msgspec.json.encode(self.resource)),) if kind is MODEL_DEPLOYMENT else (), "1")

    async def annotate(
        self, kind: Kind, metadata: Mapping[str, Any], annotations: Mapping[str, str | None], *, manager: str
    ) -> Any:
        merged = {**self.resource["metadata"]["annotations"], **annotations}
        self.resource["metadata"]["annotations"] = {key: value for key, value in merged.items() if value is not None}
        return self.resource


async def _time_out(monkeypatch: pytest.MonkeyPatch, annotations: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Return the error where no operator acts, and the annotations that are left."""
    monkeypatch.setattr(retry, "PATIENCE", 0.0)
    cluster = Cluster(raw({**ROLLED_BACK, "reason": "Aborted"}, "Failed", annotations=annotations))
    with pytest.raises(Failed) as error:
        await retry.retry(cluster, Named("shop", "churn"))
    return str(error.value), cluster.resource["metadata"]["annotations"]


async def test_timeout_names_the_annotations_that_stay_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    message, left = await _time_out(monkeypatch, {ABORT: NEXT, PAUSE: NEXT, "other": "x"})
    assert left == {"other": "x"}
    assert message == (
        f"the operator did not process the annotation {RETRY} within 0s, so it was removed. Check that the operator "
        f"runs, then run `sluicegate retry churn -n shop` again. Annotations that stay removed: {ABORT}, {PAUSE}."
    )


async def test_timeout_without_other_annotations(monkeypatch: pytest.MonkeyPatch) -> None:
    message, left = await _time_out(monkeypatch, {})
    assert left == {}
    assert message.endswith("then run `sluicegate retry churn -n shop` again.")
