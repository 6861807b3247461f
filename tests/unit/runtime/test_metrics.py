"""Metrics of all resources, whatever one of them contains."""

from prometheus_client import generate_latest
from sluicegate.api.resource import decode
from sluicegate.runtime.metrics import Metrics


def test_times_that_are_none_hide_no_other_resource() -> None:
    def resource(name: str, registered: str) -> object:
        revision: dict[str, object] = {"name": name, "revision": "a", "role": "Stable", "registeredAt": registered}
        revision |= {"weight": 100, "replicas": 1, "readyReplicas": 1}
        status = {"revisions": [revision]}
        return decode({"metadata": {"name": name}, "spec": {"model": {"uri": "models:/a/1"}}, "status": status})

    metrics = Metrics()
    moments = ("2026-01-01T23:59:60Z", "2026-01-01", "soon", "2026-01-01T00:00:00Z")
    found = [resource(f"r{number}", moment) for number, moment in enumerate(moments)]
    metrics.watch_resources(lambda: found)  # type: ignore[arg-type, return-value]
    text = generate_latest(metrics.registry).decode()
    shown = [line for line in text.splitlines() if line.startswith("sluicegate_served_version_age_seconds{")]
    assert len(shown) == 1
    assert 'name="r3"' in shown[0]


def test_undecodable_objects_are_counted_by_kind() -> None:
    metrics = Metrics()
    metrics.watch_undecodable(lambda: {"ModelDeployment": 2, "Pod": 0})
    text = generate_latest(metrics.registry).decode()
    assert 'sluicegate_undecodable_objects{kind="ModelDeployment"} 2.0' in text
    assert 'sluicegate_undecodable_objects{kind="Pod"} 0.0' in text
