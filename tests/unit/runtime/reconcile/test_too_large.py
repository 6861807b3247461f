"""A spec over the size limit changes nothing but the conditions."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, cast

from sluicegate.api.free_objects import LIMIT
from sluicegate.api.resource import Key, ModelDeployment
from sluicegate.api.status import ModelDeploymentStatus
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.reconcile.queue import WorkQueue
from sluicegate.runtime.reconcile.reconciler import Parts, Reconciler
from sluicegate.runtime.resources import Resources

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Writer:
    def __init__(self) -> None:
        self.written: list[ModelDeploymentStatus] = []

    async def write(self, resource: ModelDeployment, status: ModelDeploymentStatus) -> None:
        self.written.append(status)


def test_reports_the_field_and_changes_nothing_else() -> None:
    resources, writer = Resources(lambda key: None), Writer()
    available = {"type": "Available", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": "x"}
    resources.offer(
        {
            "metadata": {"name": "churn", "namespace": "shop", "generation": 7, "resourceVersion": "1"},
            "spec": {"model": {"uri": "models:/churn/1"}, "podTemplate": {"a": "x" * LIMIT}},
            "status": {"url": "http://churn", "observedGeneration": 6, "conditions": [available]},
        }
    )

    async def main() -> None:
        # Any use of the gatherer or the applier fails.
        parts = Parts(resources, cast(Any, None), cast(Any, None), cast(Any, writer), cast(Metrics, None))
        reconciler = Reconciler(parts, WorkQueue[Key](time.monotonic), lambda: NOW)
        assert await reconciler._once(("shop", "churn")) == "done"

    asyncio.run(main())
    (status,) = writer.written
    conditions = {condition.type: condition for condition in status.conditions}
    assert (status.url, status.observed_generation) == ("http://churn", 7)
    assert conditions["Available"].status == "True"
    for name, truth in (("Ready", "False"), ("Reconciling", "False"), ("Stalled", "True")):
        condition = conditions[name]
        assert (condition.status, condition.reason) == (truth, "FieldTooLarge")
        assert condition.message.startswith("spec.podTemplate: it has 65,544 bytes of JSON, more than the limit of 65,")
