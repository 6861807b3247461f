"""The resolver: its requests to the registry when followed models move.

The tests also check the requests that it must not send.
"""

import asyncio
from typing import cast

import msgspec
import pytest
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment, decode
from sluicegate.config.settings import build
from sluicegate.core.models.following import Followed, ModelView, Registration
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure, ResolvedModel
from sluicegate.core.models.uri import ModelRef, RegistryVersion
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.registry.registries import Registries, RegistryRef
from sluicegate.runtime.registry.resolver import REMEMBERED, Resolver

from tests.support import virtual_clock

SETTINGS = build([("test", {"registries": {"default": {"trackingUri": "http://mlflow"}}})])
DOWN = ResolutionFailure(Reason.REGISTRY_UNREACHABLE, "down", transient=True)


class FakeRegistry:
    """A registry of one model whose alias points to `latest`.

    It takes a second to respond.
    """

    def __init__(self) -> None:
        self.asked: list[ModelRef] = []
        self.latest = "2"
        self.bucket = "a"
        self.at: str | None = None
        self.failure: ResolutionFailure | None = None

    async def resolve(self, endpoint: RegistryEndpoint, ref: ModelRef) -> ResolvedModel:
        self.asked.append(ref)
        await asyncio.sleep(1)
        if self.failure is not None:
            raise ResolutionError(self.failure)
        version = str(ref.version) if isinstance(ref, RegistryVersion) else self.latest
        return ResolvedModel(str(ref), f"s3://{self.bucket}/{version}", "churn", version, registered_at=self.at)


class FakeViews:
    """The views that a follower would have."""

    def __init__(self) -> None:
        self.view: ModelView | ResolutionFailure | None = None
        self.told: list[tuple[str, str]] = []
        self.gone: bool | None = None
        self.at_last_check: Registration | None = None

    def last_result(self, registry: RegistryRef, model: str) -> ModelView | ResolutionFailure | None:
        return self.view

    def learn(self, registry: RegistryRef, ref: Followed, version: str) -> None:
        self.told.append((ref.name, version))

    def missing(self, registry: RegistryRef, ref: RegistryVersion) -> bool | None:
        return self.gone

    def registration(self, registry: RegistryRef, ref: RegistryVersion) -> Registration | None:
        return self.at_last_check


class Here:
    """A resolver with a fake registry."""

    def __init__(self) -> None:
        self.registry = FakeRegistry()
        self.views = FakeViews()
        registries = Registries(cast(KubeClient, None), SETTINGS)
        self.resolver = Resolver(registries, SETTINGS, cast(RegistryPool, self.registry), self.views)


def resource(
    name: str = "shop", version: str | None = "1", uri: str = "models:/churn@champion", said: str = "", **spec: str
) -> ModelDeployment:
    model = {"uri": uri, "registry": "default", "source": "s3://a/1", "name": "churn", "version": version}
    return decode(
        {
            "apiVersion": "sluicegate.io/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": "ns", "uid": name, "generation": 1},
            "spec": {"model": {"uri": uri, **spec}},
            "status": {"model": model, "conditions": _said(said)} if version is not None else {},
        }
    )


def registered(at: str | None, uri: str, name: str = "shop") -> ModelDeployment:
    """Return a resource whose status has version 1, registered at that time."""
    found = resource(name, uri=uri)
    assert found.status.model is not None
    model = msgspec.structs.replace(found.status.model, registered_at=at)
    return msgspec.structs.replace(found, status=msgspec.structs.replace(found.status, model=model))


def _said(reason: str) -> list[dict[str, str]]:
    return [{"type": "ModelResolved", "status": "False", "reason": reason}] if reason else []


def test_all_followers_of_an_alias_that_moved_share_one_question() -> None:
    async def main() -> None:
        here = Here()
        here.views.view = ModelView({"champion": "2"})
        found = await asyncio.gather(*(here.resolver.resolve(resource(f"r{number}")) for number in range(10)))
        assert {(each.model.version, each.model.source, each.model.uri) for each in found} == {
            ("2", "s3://a/2", "models:/churn@champion")
        }
        assert here.registry.asked == [RegistryVersion("churn", 2)]
        await asyncio.sleep(REMEMBERED + 1)
        await here.resolver.resolve(resource())
        assert len(here.registry.asked) == 2

    virtual_clock.run(main())


def test_a_failure_is_told_to_all_who_wait_and_not_remembered() -> None:
    async def main() -> None:
        here = Here()
        here.views.view = ModelView({"champion": "2"})
        here.registry.failure = DOWN
        found = await asyncio.gather(*(here.resolver.resolve(resource(f"r{number}")) for number in range(10)))
        assert all(each.model.version == "1" and each.failure == DOWN and each.again for each in found)
        assert len(here.registry.asked) == 1
        here.registry.failure = None
        assert (await here.resolver.resolve(resource())).model.version == "2"

    virtual_clock.run(main())


def test_one_who_gives_up_waiting_takes_the_answer_from_nobody() -> None:
    async def main() -> None:
        here = Here()
        here.views.view = ModelView({"champion": "2"})
        first = asyncio.ensure_future(here.resolver.resolve(resource("first")))
        second = asyncio.ensure_future(here.resolver.resolve(resource("second")))
        await asyncio.sleep(0.5)
        first.cancel()
        assert (await second).model.version == "2"
        assert len(here.registry.asked) == 1

    virtual_clock.run(main())


def test_what_is_resolved_for_the_first_time_is_news_to_the_follower() -> None:
    async def main() -> None:
        here = Here()
        assert (await here.resolver.resolve(resource(version=None))).model.version == "2"
        assert here.views.told == [("churn", "2")]

    virtual_clock.run(main())


@pytest.mark.parametrize("view", [None, ModelView({"champion": "1"}), DOWN])
def test_what_has_not_moved_is_not_asked_for(view: ModelView | ResolutionFailure | None) -> None:
    async def main() -> None:
        here = Here()
        here.views.view = view
        found = await here.resolver.resolve(resource())
        assert (found.model.version, here.registry.asked) == ("1", [])
        assert found.failure == (DOWN if view is DOWN else None)

    virtual_clock.run(main())


@pytest.mark.parametrize(
    ("gone", "said", "asked"),
    [
        (None, "", False),
        (False, "", False),
        (True, "", True),
        (None, "VersionNotFound", True),
        (None, "ModelNotFound", True),
        (False, "VersionNotFound", False),
    ],
)
def test_a_fixed_version_is_asked_for_again_only_where_it_was_not_there(
    gone: bool | None, said: str, asked: bool
) -> None:
    async def main() -> None:
        here = Here()
        here.views.gone = gone
        here.registry.failure = ResolutionFailure(Reason.VERSION_NOT_FOUND, "no version 1")
        found = await here.resolver.resolve(resource(uri="models:/churn/1", said=said))
        assert (found.model.version, found.model.source) == ("1", "s3://a/1")
        assert (found.failure is not None, bool(here.registry.asked)) == (asked, asked)

    virtual_clock.run(main())


def test_a_fixed_version_that_is_there_again_is_no_trouble() -> None:
    async def main() -> None:
        here = Here()
        here.views.gone = True
        found = await here.resolver.resolve(resource(uri="models:/churn/1", said="VersionNotFound"))
        assert (found.failure, found.model.source) == (None, "s3://a/1")

    virtual_clock.run(main())


@pytest.mark.parametrize("uri", ["models:/churn@champion", "models:/churn/1"])
@pytest.mark.parametrize(
    ("against", "newest"), [({}, None), ({"staleAgainst": "Alias"}, None), ({"staleAgainst": "Model"}, "9")]
)
def test_the_newest_version_is_told_where_staleness_is_the_models(
    uri: str, against: dict[str, str], newest: str | None
) -> None:
    async def main() -> None:
        here = Here()
        here.views.view = ModelView({"champion": "1"}, {"None": "9", "Production": "1"}, "2026-01-02T03:04:05Z")
        found = await here.resolver.resolve(resource(uri=uri, **against))
        assert (found.newest.version if found.newest else None, found.model.version) == (newest, "1")
        assert found.newest is None or found.newest.registered_at == "2026-01-02T03:04:05Z"

    virtual_clock.run(main())


class NoSecrets:
    """A cluster without Secrets."""

    async def get(self, kind: object, namespace: str, name: str) -> None:
        return None


async def test_a_webhook_secret_that_is_missing_is_told_with_what_belongs_into_it() -> None:
    registry = {"trackingUri": "http://mlflow", "webhookSecret": "hooks"}
    settings = build([("test", {"registries": {"default": registry}})])
    with pytest.raises(ResolutionError, match=r'"hooks".*Create it with the key "secret"') as caught:
        await Registries(cast(KubeClient, NoSecrets()), settings).webhook_secrets("default")
    assert "MLFLOW_TRACKING" not in str(caught.value)


OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def anew(uri: str) -> Here:
    """Return a resolver whose registry has another version 1 than before."""
    here = Here()
    here.registry.at, here.registry.bucket, here.registry.latest = NEW, "new", "1"
    if "@" in uri:
        here.views.view = ModelView({"champion": "1"}, created_at=NEW)
    else:
        here.views.at_last_check, here.views.gone = Registration(NEW), False
    return here


@pytest.mark.parametrize("uri", ["models:/churn@champion", "models:/churn/1"])
def test_version_registered_anew_is_resolved_again(uri: str) -> None:
    """All resources share one request, and the new result stays."""

    async def main() -> None:
        here = anew(uri)
        found = await asyncio.gather(
            *(here.resolver.resolve(registered(OLD, uri, f"r{number}")) for number in range(10))
        )
        assert {(each.model.uri, each.model.version, each.model.source) for each in found} == {(uri, "1", "s3://new/1")}
        assert len(here.registry.asked) == 1
        assert (await here.resolver.resolve(registered(NEW, uri))).model.registered_at == NEW
        assert (await here.resolver.resolve(registered(None, uri))).model.source == "s3://a/1", "nothing shows it"
        assert len(here.registry.asked) == 1

    virtual_clock.run(main())


@pytest.mark.parametrize("uri", ["models:/churn@champion", "models:/churn/1"])
def test_version_registered_anew_is_not_taken_from_the_cache(uri: str) -> None:
    async def main() -> None:
        here = anew(uri)
        here.registry.at, here.registry.bucket = OLD, "a"
        here.views.view, here.views.at_last_check = ModelView({"champion": "1"}), None
        await here.resolver.resolve(resource(version="2", uri=uri))
        again = anew(uri)
        here.registry.at, here.registry.bucket = NEW, "new"
        here.views.view, here.views.at_last_check = again.views.view, again.views.at_last_check
        assert (await here.resolver.resolve(registered(OLD, uri))).model.source == "s3://new/1"

    virtual_clock.run(main())


@pytest.mark.parametrize("uri", ["models:/churn@champion", "models:/churn/1"])
def test_pinned_model_stays_if_the_new_one_cannot_be_resolved(uri: str) -> None:
    async def main() -> None:
        here = anew(uri)
        here.registry.failure = DOWN
        found = await here.resolver.resolve(registered(OLD, uri))
        assert (found.model.source, found.failure, found.again) == ("s3://a/1", DOWN, True)

    virtual_clock.run(main())


def test_deleted_version_that_exists_again_with_another_source_is_taken() -> None:
    async def main() -> None:
        here = anew("models:/churn/1")
        here.views.gone, here.views.at_last_check = True, None
        found = await here.resolver.resolve(registered(OLD, "models:/churn/1"))
        assert (found.failure, found.model.source) == (None, "s3://new/1")

    virtual_clock.run(main())
