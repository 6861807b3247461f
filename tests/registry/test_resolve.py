"""Every form of URI, and every reason, against a real MLflow server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.registry import MlflowRegistry
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure, ResolvedModel
from sluicegate.core.models.uri import parse

from tests.registry.conftest import free_port, serve


async def resolve(endpoint: RegistryEndpoint, uri: str) -> ResolvedModel:
    registry = MlflowRegistry(endpoint)
    try:
        return await registry.resolve(parse(uri))
    finally:
        await registry.aclose()


def send(method: str, url: str, **content: Any) -> httpx.Response:
    return httpx.request(method, url, **content)


async def failure(endpoint: RegistryEndpoint, uri: str) -> ResolutionFailure:
    with pytest.raises(ResolutionError) as caught:
        await resolve(endpoint, uri)
    return caught.value.failure


def logged_source(seeded: dict[str, Any]) -> str:
    return f"mlflow-artifacts:/0/models/{seeded['model_id']}/artifacts"


async def test_a_version_of_a_logged_model(endpoint: RegistryEndpoint, seeded: dict[str, Any]) -> None:
    found = await resolve(endpoint, "models:/iris/1")
    assert found.registered_at
    assert replace(found, registered_at=None) == ResolvedModel(
        uri="models:/iris/1",
        source=logged_source(seeded),
        name="iris",
        version="1",
        run_id=seeded["run"],
        model_id=seeded["model_id"],
    )


async def test_what_it_resolves_to_can_be_downloaded(
    server: str, endpoint: RegistryEndpoint, seeded: dict[str, Any]
) -> None:
    for uri in ("models:/iris/1", "models:/iris@champion", f"runs:/{seeded['run']}/model"):
        path = (await resolve(endpoint, uri)).source.removeprefix("mlflow-artifacts:/")
        listing = send("GET", f"{server}/api/2.0/mlflow-artifacts/artifacts", params={"path": path})
        assert {f["path"] for f in listing.json()["files"]} & {"MLmodel", "echo.py"}, uri


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("models:/iris@champion", "classic"),
        ("models:/iris@Überholt_1", "s3"),
        ("models:/iris/Production", "s3"),
        ("models:/iris/pRODUCTION", "s3"),
        ("models:/iris/archived", "chain"),
        ("models:/iris/none", "last"),
        ("models:/iris/latest", "last"),
        ("models:/iris/LATEST", "last"),
        ("models:/iris@latest", "last"),
    ],
)
async def test_what_moves(endpoint: RegistryEndpoint, seeded: dict[str, Any], uri: str, kind: str) -> None:
    found = await resolve(endpoint, uri)
    assert (found.name, found.version) == ("iris", seeded["versions"][kind])


async def test_sources(endpoint: RegistryEndpoint, seeded: dict[str, Any]) -> None:
    versions = seeded["versions"]
    sources = {
        kind: (await resolve(endpoint, f"models:/iris/{versions[kind]}")).source for kind in versions if kind != "pvc"
    }
    assert sources == {
        "logged": logged_source(seeded),
        "last": logged_source(seeded),
        "chain": logged_source(seeded),
        "classic": f"{seeded['root']}/classic/model",
        "s3": "s3://bucket/some/model",
    }


async def test_a_registry_cannot_choose_a_volume(endpoint: RegistryEndpoint, seeded: dict[str, Any]) -> None:
    said = await failure(endpoint, f"models:/iris/{seeded['versions']['pvc']}")
    assert said.reason is Reason.SOURCE_UNSUPPORTED


@pytest.mark.parametrize("name", ["with space", "Naïve модель v2.1 %41@x"])
@pytest.mark.parametrize("suffix", ["/1", "@a", "/None", "/latest"])
async def test_awkward_names(endpoint: RegistryEndpoint, seeded: dict[str, Any], name: str, suffix: str) -> None:
    found = await resolve(endpoint, f"models:/{name}{suffix}")
    assert (found.name, found.version, found.uri) == (name, "1", f"models:/{name}{suffix}")


async def test_a_logged_model(endpoint: RegistryEndpoint, seeded: dict[str, Any]) -> None:
    uri = f"models:/{seeded['model_id']}"
    expected = ResolvedModel(uri, logged_source(seeded), run_id=seeded["run"], model_id=seeded["model_id"])
    assert await resolve(endpoint, uri) == expected


async def test_runs(endpoint: RegistryEndpoint, seeded: dict[str, Any]) -> None:
    run = seeded["run"]
    logged = await resolve(endpoint, f"runs:/{run}/model")
    assert (logged.source, logged.model_id, logged.run_id) == (logged_source(seeded), seeded["model_id"], run)
    classic = await resolve(endpoint, f"runs:/{run}/classic/model")
    assert (classic.source, classic.model_id) == (f"{seeded['root']}/classic/model", None)
    assert (await resolve(endpoint, f"runs:/{run}/model/sub")).source == logged_source(seeded) + "/sub"


@pytest.mark.parametrize(
    ("uri", "reason", "words"),
    [
        ("models:/nope/1", "ModelNotFound", ["nope", "iris", "with space"]),
        ("models:/nope@a", "ModelNotFound", ["nope", "iris"]),
        ("models:/nope/Production", "ModelNotFound", ["nope", "iris"]),
        ("models:/nope/latest", "ModelNotFound", ["nope", "iris"]),
        ("models:/Iris/1", "ModelNotFound", ["case-sensitive"]),
        ("models:/iris/999", "VersionNotFound", ["999", "newest version is 6"]),
        ("models:/iris/2147483647", "VersionNotFound", ["newest"]),
        ("models:/empty/latest", "VersionNotFound", ["no versions"]),
        ("models:/iris@Champion", "AliasNotFound", ["Champion", "champion, Überholt_1"]),
        ("models:/empty@a", "AliasNotFound", ["no aliases"]),
        ("models:/iris/Staging", "StageEmpty", ["Staging", "Production (version 3)"]),
        ("models:/empty/Staging", "StageEmpty", ["no versions"]),
        ("models:/m-0123", "LoggedModelNotFound", ["m-0123"]),
        ("runs:/0123abc/model", "RunNotFound", ["0123abc"]),
    ],
)
async def test_what_is_missing(
    endpoint: RegistryEndpoint, seeded: dict[str, Any], uri: str, reason: str, words: list[str]
) -> None:
    said = await failure(endpoint, uri)
    assert (said.reason, said.transient) == (reason, False), said
    for word in [*words, 'registry "default"', endpoint.tracking_uri]:
        assert word in said.message


async def test_missing_in_a_run(endpoint: RegistryEndpoint, seeded: dict[str, Any]) -> None:
    said = await failure(endpoint, f"runs:/{seeded['run']}/nothing's here")
    assert said.reason is Reason.ARTIFACT_NOT_FOUND
    assert "classic" in said.message
    said = await failure(endpoint, f"runs:/{seeded['deleted_run']}/model")
    assert said.reason is Reason.RUN_NOT_FOUND and "deleted" in said.message


async def test_a_logged_model_whose_upload_is_not_over(server: str, endpoint: RegistryEndpoint) -> None:
    made = send("POST", f"{server}/api/2.0/mlflow/logged-models", json={"experiment_id": "0", "name": "slow"}).json()
    model = made["model"]["info"]["model_id"]
    said = await failure(endpoint, f"models:/{model}")
    assert (said.reason, said.transient) == (Reason.VERSION_NOT_READY, True)
    body = {"model_id": model, "status": "LOGGED_MODEL_UPLOAD_FAILED"}
    send("PATCH", f"{server}/api/2.0/mlflow/logged-models/{model}", json=body).raise_for_status()
    said = await failure(endpoint, f"models:/{model}")
    assert (said.reason, said.transient) == (Reason.VERSION_NOT_READY, False)


async def test_a_server_that_refuses_the_host_name(endpoint: RegistryEndpoint, server: str) -> None:
    def under_another_name(_: RegistryEndpoint) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"{server}/api/2.0/mlflow/", headers={"Host": "mlflow.ml.svc:5000"})

    registry = MlflowRegistry(endpoint, under_another_name)
    with pytest.raises(ResolutionError) as caught:
        await registry.resolve(parse("models:/iris/1"))
    await registry.aclose()
    assert caught.value.failure.reason is Reason.REGISTRY_HOST_REFUSED
    assert "mlflow.ml.svc:5000" in caught.value.failure.message
    assert "--allowed-hosts" in caught.value.failure.message


async def test_a_wrong_path_and_a_closed_port(endpoint: RegistryEndpoint, server: str) -> None:
    said = await failure(replace(endpoint, tracking_uri=f"{server}/elsewhere"), "models:/iris/1")
    assert said.reason is Reason.REGISTRY_INVALID_ANSWER
    said = await failure(replace(endpoint, tracking_uri=f"http://u:secret@127.0.0.1:{free_port()}"), "models:/iris/1")
    assert (said.reason, said.transient) == (Reason.REGISTRY_UNREACHABLE, True)
    assert "secret" not in said.message


@pytest.fixture(scope="module")
def local_server(mlflow_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("local")
    root = folder / "root"
    for url in serve(mlflow_python, folder, "--no-serve-artifacts", "--default-artifact-root", str(root)):
        yield url, root


async def test_artifacts_on_the_servers_own_disk(local_server: tuple[str, Path]) -> None:
    url, _ = local_server
    api = f"{url}/api/2.0/mlflow"
    run = send("POST", f"{api}/runs/create", json={"experiment_id": "0", "start_time": 1}).json()["run"]["info"]
    folder = Path(run["artifact_uri"].removeprefix("file://")) / "model"
    folder.mkdir(parents=True)
    (folder / "MLmodel").touch()
    said = await failure(RegistryEndpoint("default", url), f"runs:/{run['run_id']}/model")
    assert said.reason is Reason.SOURCE_UNSUPPORTED
    assert "--serve-artifacts" in said.message and str(folder) in said.message
