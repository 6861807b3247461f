"""How a snapshot is gathered."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment, decode
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure, ResolvedModel
from sluicegate.core.snapshot import parse_gateway
from sluicegate.core.snapshot.facts import GatewayFacts, PodFacts, Problem
from sluicegate.core.snapshot.revision_spec import fetched_from, intent_of
from sluicegate.kube import kinds
from sluicegate.runtime.reconcile.gather import Gatherer
from sluicegate.runtime.registry.resolver import Resolution

from tests.support.fake_cluster import SETTINGS


class NotFound:
    """A resolver that finds no model."""

    def __init__(self, message: str) -> None:
        self.message = message

    async def resolve(self, resource: ModelDeployment) -> Any:
        raise ResolutionError(ResolutionFailure(Reason.ALIAS_NOT_FOUND, self.message))


def no_objects() -> Any:
    """Return caches of a cluster without objects."""
    empty = SimpleNamespace(get=lambda *_: None, owned=lambda _: (), available=True)
    children = {kinds.SERVICE: empty, kinds.HTTP_ROUTE: empty}
    return SimpleNamespace(
        children=children,
        pods=empty,
        slices=empty,
        metrics_api=SimpleNamespace(served=True),
        owned=lambda *_: (),
        named=lambda *_: None,
        facts=lambda *_: (),
        gateway=lambda *_: None,
    )


@pytest.mark.parametrize("message", ["no alias x", "spec.canary: no alias x"])
def test_a_problem_of_the_canary_names_its_field_whatever_its_wording(message: str) -> None:
    spec = {"model": {"uri": "models:/churn/1"}, "canary": {"weight": 1, "model": {"uri": "models:/churn@x"}}}
    resource = decode({"metadata": {"name": "churn"}, "spec": spec})
    gatherer = Gatherer(no_objects(), NotFound(message), SETTINGS)  # type: ignore[arg-type]
    snapshot = asyncio.run(gatherer.gather(resource, lambda: datetime.now(UTC))).snapshot
    assert snapshot.desired_canary is not None
    assert snapshot.desired_canary.problem is not None
    assert snapshot.desired_canary.problem.message == f"spec.canary: {message}"


def test_a_waiting_pod_lacks_room_if_a_pod_like_it_is_on_a_node() -> None:
    full = Problem(Reason.UNSCHEDULABLE, "No node has room.", waits_for_user=False)
    pods = [
        PodFacts("old", RevisionHash("a"), ready=True, deleting=False, room="one GPU"),
        PodFacts("new", RevisionHash("b"), ready=False, deleting=False, room="one GPU", scheduled=False, problem=full),
    ]
    caches = no_objects()
    caches.pods = SimpleNamespace(owned=lambda _: [SimpleNamespace(facts=pod) for pod in pods])
    resource = decode({"metadata": {"name": "churn"}, "spec": {"model": {"uri": "models:/churn/1"}}})
    gatherer = Gatherer(caches, NotFound("no model"), SETTINGS)  # type: ignore[arg-type]
    snapshot = asyncio.run(gatherer.gather(resource, lambda: datetime.now(UTC))).snapshot
    assert snapshot.pods[RevisionHash("b")][0].problem == replace(full, lacks_room=True)


def test_upgrade_keeps_the_stored_pod_template() -> None:
    """Limits that a new operator renders differently must not restart the pods of existing revisions."""
    model = ResolvedModel("s3://models/churn", "s3://models/churn")
    resource = decode({"metadata": {"name": "churn"}, "spec": {"model": {"uri": model.uri}}})
    stored = {"spec": {"terminationGracePeriodSeconds": 1}}
    record = SimpleNamespace(
        revision=intent_of(resource, model, fetched_from(resource, model, SETTINGS)).hash,
        desired_part=lambda: {"data": {"template": stored}},
    )
    caches = no_objects()
    caches.owned = lambda kind, _: (record,) if kind is kinds.CONTROLLER_REVISION else ()

    async def resolve(_: ModelDeployment) -> Resolution:
        return Resolution(model)

    resolver = SimpleNamespace(resolve=resolve)
    gatherer = Gatherer(caches, resolver, SETTINGS)  # type: ignore[arg-type]
    gathered = asyncio.run(gatherer.gather(resource, lambda: datetime.now(UTC)))
    assert list(gathered.templates.values()) == [stored]


def test_gateways_of_the_route_are_read_while_it_shifts() -> None:
    refs = [{"name": "new"}, {"name": "old"}]
    facts = parse_gateway.route({"metadata": {"name": "churn", "namespace": "shop"}, "spec": {"parentRefs": refs}})
    caches = no_objects()
    caches.named = lambda kind, _: SimpleNamespace(facts=facts) if kind is kinds.HTTP_ROUTE else None
    caches.gateway = lambda namespace, name: GatewayFacts(namespace, name, exists=True)
    spec = {"model": {"uri": "models:/churn/1"}, "traffic": {"gateway": {"parentRefs": refs[:1]}}}
    resource = decode({"metadata": {"name": "churn", "namespace": "shop"}, "spec": spec})
    gatherer = Gatherer(caches, NotFound("no model"), SETTINGS)  # type: ignore[arg-type]
    snapshot = asyncio.run(gatherer.gather(resource, lambda: datetime.now(UTC))).snapshot
    assert [gateway.name for gateway in snapshot.gateways] == ["new"]
    assert [(gateway.namespace, gateway.name) for gateway in snapshot.former_gateways] == [("shop", "old")]
