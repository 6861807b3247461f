"""The command diff on a real API server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sluicegate.kube import kinds

from tests.apiserver.command import Cli, Result, manifest
from tests.apiserver.testbed import FIRST, SECOND, World

pytestmark = pytest.mark.usefixtures("crd")


async def test_diff_predicts_what_an_apply_does(world: World, cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("{}")
    with_settings = ("--config", str(config))
    first = await cli.run("diff", "-f", "-", *with_settings, stdin=manifest(cli.namespace))
    assert first.code == 1, first
    assert f"{cli.namespace}/demo is new:" in first.out
    assert "1 pod of demo-" in first.out
    async with world.operator():
        await world.resource()
        await world.until_serving()
        (stable,) = (await world.status())["revisions"]
        assert f"new revision {stable['name']} " in first.out
        # The field manager of that apply is "user", and diff uses the same name.
        same = await cli.run("diff", "-f", "-", *with_settings, stdin=manifest(cli.namespace))
        assert same == Result(0, f"{cli.namespace}/demo: no change\n", "")
        more = await cli.run("diff", "-f", "-", *with_settings, stdin=manifest(cli.namespace, scaling={"replicas": 3}))
        assert more.code == 1
        assert "spec.scaling.replicas: (absent) -> 3" in more.out
        assert f"2 pods of {stable['name']} start (1 -> 3)" in more.out
        assert "new revision" not in more.out
        quiet = await cli.run(
            "diff", "-f", "-", *with_settings, stdin=manifest(cli.namespace, rollout={"scaleDownDelay": "2s"})
        )
        assert quiet.code == 1
        assert "no child changes, and no pod restarts" in quiet.out

        image = {"runtime": {"name": "custom", "image": "example/model:2"}}
        path = tmp_path / "manifests"
        path.mkdir()
        (path / "demo.yaml").write_text(yaml.safe_dump(manifest(cli.namespace, SECOND, **image)))
        result = await cli.run("diff", "-f", str(path), *with_settings)
        assert result.code == 1, result
        assert f"spec.model.uri: {FIRST} -> {SECOND}" in result.out
        assert f"differs from {stable['name']} in" in result.out
        assert "spec.runtime.image: example/model:1 -> example/model:2" in result.out
        assert f"1 pod of {stable['name']} drains" in result.out
        as_yaml = await cli.run("diff", "-f", str(path), *with_settings, "-o", "yaml")
        assert as_yaml.code == 1
        assert f"+++ applied ModelDeployment/{cli.namespace}/demo" in as_yaml.out
        assert "+        image: example/model:2" in as_yaml.out

        await world.resource(uri=SECOND, **image)
        await world.until_serving(SECOND)
        made = next(revision for revision in (await world.status())["revisions"] if revision["role"] == "Stable")
        assert f"new revision {made['name']} " in result.out
        assert f"requests to {made['name']}: 0% -> 100%" in result.out
        back = await cli.run("diff", "-f", "-", *with_settings, stdin=manifest(cli.namespace))
        assert f"existing revision {stable['name']} " in back.out


async def test_diff_compares_with_what_kubectl_applied(world: World, cli: Cli, kubectl: Callable[..., Any]) -> None:
    """Check which fields `diff` reports as removed.

    These are the fields that the user applied and that the file no longer has. A field that another user set stays.
    """
    await asyncio.to_thread(kubectl, "apply", "-f", "-", input=manifest(cli.namespace, scaling={"replicas": 2}))
    await asyncio.to_thread(kubectl, "-n", cli.namespace, "annotate", "mdep", "demo", "theirs=yes")
    result = await cli.run("diff", "-f", "-", stdin=manifest(cli.namespace))
    assert result.code == 1
    assert "spec.scaling.replicas: 2 -> (absent)" in result.out
    assert "theirs" not in result.out
    assert "the operator's settings are not known" in result.err
    assert (await cli.run("diff", "-f", "-", stdin=manifest(cli.namespace, scaling={"replicas": 2}))).code == 0


async def test_diff_reads_the_settings_of_the_operator(world: World, cli: Cli) -> None:
    metadata = {"name": "sluicegate", "namespace": cli.namespace, "labels": {"app.kubernetes.io/name": "sluicegate"}}
    settings = {"namespace": cli.namespace, "registries": {"default": {"trackingUri": "http://127.0.0.1:9"}}}
    await world.client.create(
        kinds.CONFIG_MAP, {"metadata": metadata, "data": {"settings.yaml": yaml.safe_dump(settings)}}
    )
    document = manifest(cli.namespace, "models:/churn@champion")
    result = await cli.run("diff", "-f", "-", stdin=document)
    assert result.code == 1, result
    assert "registry default (RegistryUnreachable) cannot be used from this machine" in result.err
    assert "the operator's settings" not in result.err
    assert "new revision demo-(new) (churn/to be resolved)" in result.out
    answered = await cli.run("diff", "-f", "-", "--resolve", "models:/churn@champion=7", stdin=document)
    assert "new revision demo-(new) (churn/7)" in answered.out
