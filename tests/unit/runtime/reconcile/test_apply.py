"""Which objects an apply takes over."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from sluicegate.api import names
from sluicegate.api.reasons import Reason
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Conflict
from sluicegate.kube.kinds import Kind
from sluicegate.runtime.reconcile.apply import ONLY_CREATE, Applied, Applier
from sluicegate.runtime.reconcile.caches import Caches

OURS = {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": "demo", "uid": "u"}
NOW = datetime(2026, 3, 1, tzinfo=UTC)
LABELS = names.owner_labels("demo")
MANIFEST = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "demo", "namespace": "ns", "labels": LABELS, "ownerReferences": [OURS]},
    "spec": {"ports": [{"port": 80}]},
}


class FakeServer:
    """Holds at most one object, and refuses to create a second one."""

    def __init__(self, stored: dict[str, Any] | None) -> None:
        self.stored = stored
        self.applied: list[dict[str, Any]] = []

    async def apply(self, kind: Kind, manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
        if self.stored is not None and manifest["metadata"].get("resourceVersion") == ONLY_CREATE:
            raise Conflict(409, "Conflict", "the object has been modified")
        self.applied.append(manifest)
        metadata = {**manifest["metadata"], "uid": "1", "resourceVersion": "9"}
        return {**manifest, "metadata": metadata}

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        return self.stored


def stored(labels: dict[str, str], *owners: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": "demo", "namespace": "ns", "uid": "1", "resourceVersion": "5", "labels": labels}
    return {**MANIFEST, "metadata": metadata | ({"ownerReferences": list(owners)} if owners else {}), "spec": {}}


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(
    ("existing", "taken_over"),
    [
        (stored(LABELS, OURS), True),
        (stored({**LABELS, names.LABEL_DEPLOYMENT: "other"}, OURS), True),
        (stored(LABELS, {**OURS, "uid": "recreated"}), False),
        (stored(LABELS), True),
        (stored({**LABELS, names.LABEL_DEPLOYMENT: "other"}), False),
        (stored({names.LABEL_MANAGED_BY: names.MANAGER}), False),
    ],
    ids=["owned", "owned, relabelled", "owned by another", "orphan", "orphan of another", "unowned"],
)
async def test_takes_over_its_own_objects_and_orphans(existing: dict[str, Any], taken_over: bool, cached: bool) -> None:
    server = FakeServer(existing)
    caches = Caches(cast(KubeClient, server), None, 600.0)
    applier = Applier(cast(KubeClient, server), caches)
    if cached:
        caches.children[kinds.SERVICE].put(existing)
    done = Applied(NOW)
    await applier._write(MANIFEST, done)
    if taken_over and not cached:  # The object is cached now, and the next reconcile writes it.
        assert (done.conflicts, done.refused, server.applied) == (1, None, [])
        done = Applied(NOW)
        await applier._write(MANIFEST, done)
    assert (done.refused is None) is taken_over
    assert len(server.applied) == taken_over
    if done.refused is not None:
        assert done.refused.reason is Reason.NAME_TAKEN


async def test_never_takes_over_an_unlabelled_object_of_a_user() -> None:
    server = FakeServer(stored({}))
    applier = Applier(cast(KubeClient, server), Caches(cast(KubeClient, server), None, 600.0))
    done = Applied(NOW)
    await applier._write(MANIFEST, done)
    assert done.refused is not None and done.refused.reason is Reason.NAME_TAKEN and server.applied == []
