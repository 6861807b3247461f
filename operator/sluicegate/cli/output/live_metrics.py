"""What the operator measures now of one rollout.

The values come from the operator's own metrics, read through the API server.
Status holds outcomes, not measurements, so that a resource at rest is never written.
A user who may use the proxy of pods sees live values. Any other user sees what status has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from sluicegate.cli.operator_config import NAMESPACE, SELECTOR
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden, KubeError
from sluicegate.kube.kinds import POD

VALUE, LIMIT, SAMPLES, OUTCOME, SHARE = (
    "sluicegate_analysis_value",
    "sluicegate_analysis_limit",
    "sluicegate_analysis_samples",
    "sluicegate_analysis_outcome",
    "sluicegate_rollout_requests_share",
)
PORT = 8080
PATIENCE = 5.0
"""Seconds to wait for the metrics. After that, only what status has is shown."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The values of one metric of an analysis. None means that a value is not known."""

    value: float | None = None
    stable: float | None = None
    limit: float | None = None
    samples: int | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """The operator's metrics about one ModelDeployment, as read once."""

    metrics: Mapping[str, Reading] = field(default_factory=dict)
    """The readings, by the name of the metric."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Percent of the requests that a revision really received, by its hash."""


@dataclass(frozen=True, slots=True)
class LiveMetrics:
    """What the operator measured, or why that is not known."""

    measured: Measured | None = None
    unknown: str | None = None


def parsed(text: str, namespace: str, name: str) -> Measured | None:
    """Parse the series of one ModelDeployment from a page of metrics.

    Series of other ModelDeployments are left out before the parsing, because there may be thousands.

    Returns:
        The measurements, or None where the page has none.
    """
    marks = (f'namespace="{namespace}"', f'name="{name}"')
    series = (VALUE, LIMIT, SAMPLES, OUTCOME, SHARE)
    lines = [line for line in text.splitlines() if line.startswith(series) and all(mark in line for mark in marks)]
    parts: dict[str, dict[str, Any]] = {}
    shares: dict[str, float] = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            labels = sample.labels
            if (labels.get("namespace"), labels.get("name")) != (namespace, name):
                continue
            if sample.name == SHARE:
                shares[labels.get("revision", "")] = sample.value
            else:
                part = parts.setdefault(labels.get("metric", ""), {})
                part |= _part(sample.name, labels, sample.value)
    if not parts and not shares:
        return None
    return Measured({metric: Reading(**part) for metric, part in parts.items()}, shares)


def _part(name: str, labels: Mapping[str, str], value: float) -> dict[str, Any]:
    """Return the field of a `Reading` that a series gives."""
    of_candidate = labels.get("side") != "stable"
    match name:
        case _ if value != value:  # NaN: nothing was measured
            return {}
        case "sluicegate_analysis_value":
            return {"value" if of_candidate else "stable": value}
        case "sluicegate_analysis_samples":
            return {"samples": int(value)} if of_candidate else {}
        case "sluicegate_analysis_limit":
            return {"limit": value}
        case _:
            return {"outcome": labels.get("outcome")} if value == 1 else {}


NOT_MEASURED_YET = "the operator has not measured this step yet"


class MetricsSource:
    """The operator that is the leader, in any namespace. Only the leader has values."""

    def __init__(self, client: KubeClient, namespace: str, name: str) -> None:
        """Prepare to read the metrics of one ModelDeployment."""
        self._client = client
        self._about = (namespace, name)

    async def read(self) -> LiveMetrics:
        """Read the metrics of the operator pods, up to the first one that has values."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._read()
        except TimeoutError:
            return LiveMetrics(unknown=f"the operator's metrics did not arrive within {PATIENCE:.0f}s")

    async def _read(self) -> LiveMetrics:
        try:
            pods = await self._pods()
        except Forbidden as error:
            return LiveMetrics(unknown=f"no permission to list the operator's pods ({error.message})")
        except KubeError as error:
            return LiveMetrics(unknown=f"listing the operator's pods failed ({error})")
        if not pods:
            return LiveMetrics(unknown=f"no pod with the label {SELECTOR} was found")
        unknown = NOT_MEASURED_YET
        for namespace, name, port in pods:
            try:
                measured = parsed(await self._client.through_pod(namespace, name, port, "/metrics"), *self._about)
            except Forbidden as error:
                return LiveMetrics(
                    unknown=f"no permission to get pods/proxy in namespace {namespace} ({error.message})"
                )
            except KubeError as error:
                unknown = f"reading the metrics of pod {namespace}/{name} failed ({error})"
                continue
            if measured is not None:
                return LiveMetrics(measured)
        return LiveMetrics(unknown=unknown)

    async def _pods(self) -> list[tuple[str, str, int]]:
        """Return (namespace, name, metrics port) of every operator pod.

        Where the user may not list pods in all namespaces, these are the pods of the operator's default namespace.
        """
        try:
            page = await self._client.list(POD, None, SELECTOR)
        except Forbidden:
            page = await self._client.list(POD, NAMESPACE, SELECTOR)
        return [
            (raw["metadata"]["namespace"], raw["metadata"]["name"], _port(raw))
            for raw in page
            if (raw.get("status") or {}).get("phase") == "Running" and "deletionTimestamp" not in raw["metadata"]
        ]


def _port(pod: Mapping[str, Any]) -> int:
    for container in (pod.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == "health":
                return int(port["containerPort"])
    return PORT
