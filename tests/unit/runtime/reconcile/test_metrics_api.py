"""The operator's knowledge of the metrics API."""

import asyncio
from typing import Any

import pytest
from sluicegate.kube.errors import Forbidden, KubeError, NotFound, ServerError, Unreachable
from sluicegate.runtime.reconcile.metrics_api import MetricsApi


class Discovery:
    """An API server that responds to discovery with the given errors, in order. None is a success."""

    def __init__(self, *errors: KubeError | None) -> None:
        self._errors = list(errors)

    async def discover(self, group_version: str) -> dict[str, Any]:
        assert group_version == "metrics.k8s.io/v1beta1"
        if (error := self._errors.pop(0)) is not None:
            raise error
        return {}


MISSING = NotFound(404, "NotFound", "no such API")
DOWN = ServerError(503, "ServiceUnavailable", "no endpoints")


@pytest.mark.parametrize(
    ("errors", "served", "changes"),
    [
        ([None], True, 0),
        ([MISSING], False, 1),
        ([DOWN], True, 0),
        ([MISSING, MISSING], False, 1),
        ([MISSING, None], True, 2),
        ([Unreachable("connection refused")], True, 0),
        ([MISSING, Unreachable("connection refused")], False, 1),
        ([Forbidden(403, "Forbidden", "no discovery")], True, 0),
    ],
)
def test_metrics_api_as_discovery_reports_it(errors: list[KubeError | None], served: bool, changes: int) -> None:
    calls: list[None] = []
    api = MetricsApi(Discovery(*errors))  # type: ignore[arg-type]
    api.on_change(lambda: calls.append(None))
    for _ in errors:
        asyncio.run(api.ask())
    assert (api.served, len(calls)) == (served, changes)
