"""The commands history, rollback and unpin on a real API server.

The real operator runs at the same time.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from sluicegate.cli import completion
from sluicegate.kube import kinds

from tests.apiserver.command import Cli, config_of
from tests.apiserver.testbed import FIRST, SECOND, World

pytestmark = pytest.mark.usefixtures("crd")
PIN = "sluicegate.dev/pin"


async def _live(world: World) -> dict[str, Any]:
    raw = await world.client.get(kinds.MODEL_DEPLOYMENT, world.namespace, "demo")
    assert raw is not None
    return raw


async def _parked(world: World) -> None:
    """Wait until only the stable revision has pods."""

    async def quiet() -> bool:
        roles = [revision["role"] for revision in (await world.status())["revisions"]]
        return roles.count("Stable") == 1 and set(roles) == {"Stable", "Parked"}

    await world.until(quiet)


async def _with_kubelet(world: World, work: Any) -> Any:
    task = asyncio.ensure_future(work)
    while not task.done():
        await world.ready_pods()
        await asyncio.sleep(0.1)
    return await task


async def test_rollback_and_unpin(world: World, cli: Cli, capsys: Any) -> None:
    async with world.operator():
        await world.resource()
        await world.until_serving()
        alone = await cli.run("rollback", "demo")
        assert alone.code == 1
        assert "so there is no previous revision" in alone.err
        await world.resource(uri=SECOND)
        await world.until_serving(SECOND)
        await _parked(world)
        shown = json.loads((await cli.run("history", "demo", "-o", "json")).out)
        new, old = shown["revisions"]
        assert [(each["number"], each["role"], each["recorded"]) for each in (new, old)] == [
            (2, "Stable", True),
            (1, "Parked", True),
        ]
        assert old["releasedAt"] is not None
        assert new["image"] == "example/model:1"
        spec = (await _live(world))["spec"]

        refused = await cli.run("rollback", "demo", "2")
        assert refused.code == 1
        assert f"{new['name']} #2" in refused.err
        assert "is stable already" in refused.err
        unknown = await cli.run("rollback", "demo", "9")
        assert unknown.code == 1
        assert "revision 9 of demo does not exist" in unknown.err

        result = await _with_kubelet(world, cli.run("rollback", "demo", "--wait", "--timeout", "60s"))
        assert result.code == 0, result
        assert f"pinned to {old['name']} #1" in result.out
        assert "Its pods start first" in result.out
        assert "To remove it: sluicegate unpin demo" in result.out
        assert f"{old['name']} #1" in result.out.splitlines()[-1]
        assert "is stable after" in result.out.splitlines()[-1]
        live = await _live(world)
        assert live["spec"] == spec
        assert live["metadata"]["annotations"][PIN] == old["revision"]
        managers = {field["manager"] for field in live["metadata"]["managedFields"]}
        assert "sluicegate-cli" in managers
        table = (await cli.run("history", "demo")).out.splitlines()
        assert table[0].split() == [
            "NUMBER",
            "REVISION",
            "MODEL",
            "ROLE",
            "WEIGHT",
            "CREATED",
            "RELEASED",
            "IMAGE",
            "MARKS",
        ]
        assert table[2].split()[0] == "1"
        assert "pinned" in table[2]
        again = await cli.run("rollback", "demo", old["name"])
        assert again.code == 0
        assert "is pinned already: nothing was changed" in again.out
        unnamed = await cli.run("rollback", "demo")
        assert unnamed.code == 1
        assert "add a REVISION" in unnamed.err

        free = await cli.run("unpin", "demo")
        assert free.code == 0
        assert f"unpinned from {old['name']} #1" in free.out
        assert (await cli.run("unpin", "demo")).out == f"{cli.namespace}/demo is not pinned: nothing was changed.\n"
        await world.until_serving(SECOND)
        assert (await _live(world))["spec"] == spec
        # The revision that had traffic last is the older one again.
        await _parked(world)
        back = await cli.run("rollback", "demo", "#1")
        assert back.code == 0, back

    command = ["rollback", "demo", "-n", cli.namespace, "--kubeconfig", cli.kubeconfig]
    for typed, candidate in (
        (["rollback", *command[2:], ""], "demo"),
        ([*command, ""], "1"),
        ([*command, "demo-"], old["name"]),
    ):
        assert await asyncio.to_thread(completion.main, typed) == 0
        assert candidate in [line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()]


async def test_rollback_during_a_change_keeps_stable(world: World, cli: Cli) -> None:
    async with world.operator():
        await world.resource()
        await world.until_serving()
        await world.resource(uri=SECOND)

        async def rolled_out() -> bool:
            return "Candidate" in [revision["role"] for revision in (await world.status())["revisions"]]

        await world.until(rolled_out, kubelet=False)
        result = await cli.run("rollback", "demo", "--wait", "--timeout", "30s")
        assert result.code == 0, result
        assert "It stays stable" in result.out
        assert "gets no traffic" in result.out


async def test_missing_write_permission_is_reported(
    world: World, cli: Cli, kubectl: Callable[..., Any], tmp_path: Any
) -> None:
    missing = await cli.run("history", "demo")
    assert missing.code == 1
    assert f"ModelDeployment demo does not exist in namespace {cli.namespace}" in missing.err
    await world.resource()
    empty = await cli.run("history", "demo")
    assert "demo has no revisions yet" in empty.out
    assert yaml.safe_load((await cli.run("history", "demo", "-o", "yaml")).out)["revisions"] == []
    nothing = await cli.run("rollback", "demo")
    assert nothing.code == 1
    assert "demo has no stable revision yet" in nothing.err
    where = ["-n", cli.namespace, "create"]
    kubectl(*where, "serviceaccount", "guest")
    kubectl(*where, "role", "reader", "--verb=get,list", "--resource=modeldeployments.sluicegate.dev")
    kubectl(*where, "rolebinding", "reader", "--role=reader", f"--serviceaccount={cli.namespace}:guest")
    token = kubectl(*where, "token", "guest").out.strip()
    guest = Cli(config_of(cli.kubeconfig, tmp_path / "guest", token=token), cli.namespace)
    async with world.operator():
        await world.until_serving()
        await world.resource(uri=SECOND)
        await world.until_serving(SECOND)
    result = await guest.run("history", "demo")
    assert result.code == 0
    assert "note: images and creation times are not shown" in result.out
    refused = await guest.run("rollback", "demo", "1")
    assert refused.code == 1
    assert "forbidden: " in refused.err
    assert "patch" in refused.err


async def test_unpin_while_other_clients_write(world: World, cli: Cli) -> None:
    """Check that unpin works while another client keeps writing.

    `history` also reports a pin that names an unknown revision.
    """
    await world.resource()
    patch = {"metadata": {"annotations": {PIN: "nothere222"}}}
    await world.client.merge_patch(kinds.MODEL_DEPLOYMENT, world.namespace, "demo", patch)
    result = await cli.run("history", "demo")
    assert "names revision nothere222, which does not exist. To remove it: sluicegate unpin demo" in result.out
    done = asyncio.Event()

    async def others() -> None:
        count = 0
        while not done.is_set():
            count += 1
            busy = {"metadata": {"annotations": {"busy": str(count)}}}
            await world.client.merge_patch(kinds.MODEL_DEPLOYMENT, world.namespace, "demo", busy)
            await asyncio.sleep(0.02)

    writing = asyncio.create_task(others())
    result = await cli.run("unpin", "demo")
    done.set()
    await writing
    assert result.code == 0, result
    assert "unpinned from nothere222" in result.out
    annotations = (await _live(world))["metadata"]["annotations"]
    assert PIN not in annotations
    assert "busy" in annotations


async def _crash(world: World, uri: str) -> None:
    """Report the pods of a version as crashing, as a kubelet does."""
    written = {"reason": "ModelLoadFailed", "message": "cannot load the model: no module named skops"}
    terminated = {"exitCode": 1, "message": json.dumps(written)}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    container = {"name": "model", "image": "i", "imageID": "", "ready": False, "restartCount": 3, "state": waiting}
    status = {"phase": "Running", "containerStatuses": [{**container, "lastState": {"terminated": terminated}}]}
    status["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]  # type: ignore[list-item]
    entries = (await world.status())["revisions"]
    revision = next(entry["revision"] for entry in entries if entry["model"] == uri)
    for pod in (await world.client.list(kinds.POD, world.namespace, f"sluicegate.dev/revision={revision}")).items:
        if "deletionTimestamp" not in pod["metadata"] and "conditions" not in (pod.get("status") or {}):
            name = pod["metadata"]["name"]
            await world.client.merge_patch(kinds.POD, world.namespace, name, {"status": status}, subresource="status")


async def test_crashing_revision_is_given_up_until_retry(world: World, cli: Cli) -> None:
    rollout = {"scaleDownDelay": "1s", "progressDeadline": "4s"}
    async with world.operator():
        await world.resource(rollout=rollout)
        await world.until_serving()
        refused = await cli.run("retry", "demo")
        assert refused.code == 1
        assert "no revision of demo was given up" in refused.err
        await world.resource(uri=SECOND, rollout=rollout)

        async def given_up() -> bool:
            await _crash(world, SECOND)
            roles = {revision["model"]: revision["role"] for revision in (await world.status())["revisions"]}
            return roles == {FIRST: "Stable", SECOND: "Failed"}

        async def made() -> bool:
            return len((await world.status())["revisions"]) == 2

        await world.until(made, kubelet=False)
        await world.until(given_up, kubelet=False)
        assert await world.condition("Ready") == ("False", "ModelLoadFailed")
        assert await world.condition("Available") == ("True", "Serving")
        replicas = {
            child["metadata"]["name"]: child["spec"]["replicas"] for child in await world.children(kinds.DEPLOYMENT)
        }
        assert sorted(replicas.values()) == [0, 1]
        again = await cli.run("retry", "demo")
        assert again.code == 0, again
        assert "is tried again" in again.out
        assert "sluicegate.dev/retry" not in (await _live(world))["metadata"].get("annotations", {})
        await world.until_serving(SECOND)
