"""Which process leads."""

import asyncio
from typing import cast

import pytest
from sluicegate.app.leadership import NoElection, leadership
from sluicegate.config.settings import Settings
from sluicegate.kube.client import KubeClient
from sluicegate.kube.lease import Elector

CLIENT = cast(KubeClient, None)


async def test_leads_at_once_without_an_election() -> None:
    alone = leadership(Settings(leader_election=False), CLIENT)
    assert isinstance(alone, NoElection)
    await alone.acquire()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(alone.hold(), 0.05)
    await alone.release()


@pytest.mark.parametrize(("namespace", "lease"), [(None, "sluicegate-operator"), ("shop", "sluicegate-operator-shop")])
def test_each_namespaced_operator_has_a_lease_of_its_own(namespace: str | None, lease: str) -> None:
    elector = leadership(Settings(namespace=namespace, operator_namespace="platform"), CLIENT)
    assert isinstance(elector, Elector)
    assert (elector._namespace, elector._name) == ("platform", lease)
