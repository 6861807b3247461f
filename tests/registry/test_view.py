"""What one request shows of a registered model while its names move.

The stock client moves aliases and creates versions.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.registry import MlflowRegistry
from sluicegate.core.models.following import ModelView, followed
from sluicegate.core.models.reference import RegistryVersion
from sluicegate.core.models.resolution import ResolutionError

from tests.registry.test_resolve import send


async def view(endpoint: RegistryEndpoint, model: str) -> ModelView:
    registry = MlflowRegistry(endpoint)
    try:
        return await registry.view(model)
    finally:
        await registry.aclose()


async def test_it_shows_what_resolving_each_name_gives(endpoint: RegistryEndpoint, seeded: dict[str, Any]) -> None:
    seen = await view(endpoint, "iris")
    registry = MlflowRegistry(endpoint)
    for uri in ("models:/iris@champion", "models:/iris@Überholt_1", "models:/iris/Production", "models:/iris/Archived"):
        ref = followed(uri)
        assert ref is not None
        try:
            assert seen.pointed(ref) == (await registry.resolve(ref)).version, uri
        except ResolutionError as error:
            # The URI was resolved. The operator then rejected the location of the artifacts.
            assert error.failure.reason == "SourceUnsupported", uri
    latest = followed("models:/iris/latest")
    assert latest is not None
    assert seen.pointed(latest) == max(seeded["versions"].values(), key=int)
    await registry.aclose()


async def test_it_follows_an_alias_that_moves_and_one_that_is_deleted(
    server: str, endpoint: RegistryEndpoint, seeded: dict[str, Any]
) -> None:
    base, ref = f"{server}/api/2.0/mlflow/registered-models/alias", followed("models:/iris@moving")
    assert ref is not None
    for version in ("1", "2"):
        asked = {"name": "iris", "alias": "moving", "version": version}
        send("POST", base, json=asked).raise_for_status()
        assert (await view(endpoint, "iris")).pointed(ref) == version
    send("DELETE", base, json={"name": "iris", "alias": "moving"}).raise_for_status()
    assert (await view(endpoint, "iris")).pointed(ref) is None


async def test_it_follows_a_stage(server: str, endpoint: RegistryEndpoint, seeded: dict[str, Any]) -> None:
    ref = followed("models:/iris/Staging")
    assert ref is not None
    move = f"{server}/api/2.0/mlflow/model-versions/transition-stage"
    for stage, expected in (("Staging", "1"), ("None", None)):
        send("POST", move, json={"name": "iris", "version": "1", "stage": stage}).raise_for_status()
        assert (await view(endpoint, "iris")).pointed(ref) == expected


async def test_an_empty_model_has_nothing_and_a_missing_one_is_told(
    endpoint: RegistryEndpoint, seeded: dict[str, Any]
) -> None:
    empty = await view(endpoint, "empty")
    assert empty == ModelView(created_at=empty.created_at)
    assert empty.created_at is not None
    with pytest.raises(ResolutionError, match="ModelNotFound"):
        await view(endpoint, "absent")


async def test_a_version_that_is_deleted_is_gone_and_the_newest_one_has_its_time(
    server: str, endpoint: RegistryEndpoint, seeded: dict[str, Any]
) -> None:
    base, began = f"{server}/api/2.0/mlflow", datetime.now(UTC).replace(microsecond=0)
    send("POST", f"{base}/registered-models/create", json={"name": "fading"}).raise_for_status()
    for _ in range(2):
        about = {"name": "fading", "source": "s3://bucket/some/model"}
        send("POST", f"{base}/model-versions/create", json=about).raise_for_status()
    registry = MlflowRegistry(endpoint)
    try:
        for version in (1, 2):
            assert await registry.registration(RegistryVersion("fading", version)) is not None
        newest = (await registry.view("fading")).newest_at
        assert newest == (await registry.resolve(RegistryVersion("fading", 2))).registered_at
        assert newest is not None
        assert began <= datetime.fromisoformat(newest) <= datetime.now(UTC)
        send("DELETE", f"{base}/model-versions/delete", json={"name": "fading", "version": "1"}).raise_for_status()
        assert await registry.registration(RegistryVersion("fading", 1)) is None
        assert await registry.registration(RegistryVersion("fading", 2)) is not None
        assert await registry.registration(RegistryVersion("absent", 1)) is None
        with pytest.raises(ResolutionError, match="VersionNotFound"):
            await registry.resolve(RegistryVersion("fading", 1))
    finally:
        await registry.aclose()


async def test_version_that_was_registered_anew_is_told_from_the_one_before(
    server: str, endpoint: RegistryEndpoint
) -> None:
    """MLflow gives the numbers out again once the model itself is deleted. The aliases of older versions return too."""
    base, ref = f"{server}/api/2.0/mlflow", RegistryVersion("reborn", 1)

    def register(bucket: str) -> None:
        send("POST", f"{base}/registered-models/create", json={"name": "reborn"}).raise_for_status()
        for _ in range(2):
            about = {"name": "reborn", "source": f"s3://{bucket}/model"}
            send("POST", f"{base}/model-versions/create", json=about).raise_for_status()
        about = {"name": "reborn", "alias": "champion", "version": "1"}
        send("POST", f"{base}/registered-models/alias", json=about).raise_for_status()

    registry = MlflowRegistry(endpoint)
    try:
        register("first")
        before = await registry.resolve(ref)
        assert not (await registry.view("reborn")).replaced("1", before.registered_at, before.run_id)
        send("DELETE", f"{base}/registered-models/delete", json={"name": "reborn"}).raise_for_status()
        await asyncio.sleep(1.1)  # Status has whole seconds.
        register("second")
        view = await registry.view("reborn")
        assert view.aliases == {"champion": "1"}
        assert view.replaced("1", before.registered_at, before.run_id)
        registration = await registry.registration(ref)
        assert registration is not None
        assert registration.differs(before.registered_at, before.run_id)
        after = await registry.resolve(ref)
        assert (before.source, after.source) == ("s3://first/model", "s3://second/model")
        assert not view.replaced("1", after.registered_at, after.run_id)
    finally:
        await registry.aclose()
