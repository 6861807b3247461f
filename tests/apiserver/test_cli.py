"""The command get, its live view, and the errors of commands on a real API server.

The real operator runs at the same time.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sluicegate.kube import kinds

from tests.apiserver.command import Cli, Result, config_of, manifest, output_until
from tests.apiserver.testbed import NODE, SECOND, World

pytestmark = pytest.mark.usefixtures("crd")


async def test_get_shows_what_serves_and_why_not(world: World, cli: Cli) -> None:
    empty = await cli.run("get")
    assert empty == Result(0, f"No ModelDeployments found in namespace {cli.namespace}.\n", "")
    gone = await cli.run("get", "demo")
    assert gone.code == 1
    assert f"ModelDeployment demo does not exist in namespace {cli.namespace}" in gone.err
    await world.resource()
    unseen = await cli.run("get", "demo")
    assert "The operator has not observed the resource yet" in unseen.out
    async with world.operator():
        await world.until_serving()
        table = (await cli.run("get")).out.splitlines()
        assert table[0].split() == [
            "NAME",
            "READY",
            "STATUS",
            "MODEL",
            "VERSION",
            "CANARY",
            "PODS",
            "AGE",
            "MESSAGE",
        ]
        assert table[1].split()[:3] == ["demo", "True", "Serving"]
        everywhere = await cli.run("get", "-A")
        assert [cli.namespace, "demo"] in [line.split()[:2] for line in everywhere.out.splitlines()]
        one = await cli.run("get", "demo", "-o", "wide")
        assert one.err == ""
        assert "\x1b" not in one.out
        (revision,) = (await world.status())["revisions"]
        pods = [pod["metadata"]["name"] for pod in (await world.client.list(kinds.POD, world.namespace)).items]
        for word in (
            f"{revision['name']} #1",
            *pods,
            "Ready      True for",
            "100%",
            NODE,
            "RevisionCreated",
            "Promoted",
            "ModelResolved",
        ):
            assert word in one.out, one.out
        for output in ("json", "yaml"):
            shown = yaml.safe_load((await cli.run("get", "demo", "-o", output)).out)
            assert (shown["kind"], shown["metadata"]["name"]) == ("ModelDeployment", "demo")
            assert "managedFields" not in shown["metadata"]
        assert (await cli.run("get", "-o", "name")).out == "modeldeployment.sluicegate.dev/demo\n"


async def test_kubectl_plugin(world: World, cli: Cli, kubectl_program: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    await world.resource()
    result = await asyncio.to_thread(
        _plugin, kubectl_program, "get", "-n", cli.namespace, "--kubeconfig", cli.kubeconfig
    )
    assert result.out.splitlines()[1].split()[:2] == ["demo", "Unknown"]
    wrong = await asyncio.to_thread(
        _plugin, kubectl_program, "get", "odd", "-n", cli.namespace, "--kubeconfig", cli.kubeconfig
    )
    assert wrong.err.startswith("kubectl sluicegate get: ModelDeployment odd does not exist")
    context = await asyncio.to_thread(
        _plugin, kubectl_program, "get", "--context", "nowhere", "--kubeconfig", cli.kubeconfig
    )
    assert context.code == 1
    assert "nowhere" in context.err


def _plugin(program: str, *args: str) -> Result:
    done = subprocess.run([program, "sluicegate", *args], capture_output=True, text=True, timeout=60, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


class Proxy:
    """A proxy to the API server that can be cut off, as during a restart."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, back = await asyncio.open_connection(*self._target)
        self._open |= {writer, back}
        for source, sink in ((reader, back), (upstream, writer)):
            task = asyncio.create_task(self._copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(65536):
                sink.write(chunk)
                await sink.drain()
        sink.transport.abort()
        self._open.discard(sink)


async def test_live_view_survives_a_restart_of_the_api_server(world: World, kubeconfig: str, tmp_path: Path) -> None:
    server = yaml.safe_load(Path(kubeconfig).read_text())["clusters"][0]["cluster"]["server"]
    host, _, port = server.removeprefix("https://").partition(":")
    proxy = Proxy(host, int(port))
    await proxy.start()
    cli = Cli(config_of(kubeconfig, tmp_path / "proxied", f"https://{host}:{proxy.port}"), world.namespace)
    if host != "127.0.0.1":
        pytest.fail(f"the proxy stands in for 127.0.0.1 only, not for {host}")
    await world.resource()
    process = await cli.start("get", "demo", "--watch")
    try:
        await output_until(process, "The operator has not observed the resource yet")
        async with world.operator():
            await world.until_serving()
            await output_until(process, "Ready      True for")
            await proxy.cut()
            await output_until(process, "the API server does not respond")
            await world.resource(uri=SECOND)
            await world.until_serving(SECOND)
            await proxy.start()
            await output_until(process, f"Model      {SECOND}")
            await output_until(process, "Parked")
            await world.client.delete(kinds.MODEL_DEPLOYMENT, world.namespace, "demo")
            await output_until(process, f"ModelDeployment {world.namespace}/demo was deleted.")
        assert await asyncio.wait_for(process.wait(), 20) == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await proxy.cut()


async def test_ctrl_c_ends_the_live_view_cleanly(world: World, cli: Cli) -> None:
    await world.resource()
    process = await cli.start("get", "--watch")
    await output_until(process, "demo")
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, out, err) == (130, b"", b"")


async def test_errors_have_a_message_and_their_own_exit_code(world: World, cli: Cli, tmp_path: Path) -> None:
    wrong = await cli.run("diff", "-f", "-", stdin=manifest(cli.namespace, scaling={"min": 3, "max": 2}))
    assert wrong.code == 2
    assert "the API server rejects it" in wrong.err
    assert "min must not be larger than max" in wrong.err
    missing = await cli.run("diff", "-f", str(tmp_path / "none.yaml"))
    assert (missing.code, missing.out) == (2, "")
    nowhere = Cli(config_of(cli.kubeconfig, tmp_path / "nowhere", "https://127.0.0.1:1"), cli.namespace)
    assert (await nowhere.run("diff", "-f", "-", stdin=manifest(cli.namespace))).code == 2
    unreachable = await nowhere.run("get")
    assert unreachable.code == 1
    assert "the API server is not reachable" in unreachable.err
    elsewhere = await cli.run("diff", "-f", "-", stdin=manifest("elsewhere"))
    assert elsewhere.code == 2
    assert "metadata.namespace is elsewhere, but -n is" in elsewhere.err
    assert (await cli.run("get", "demo", "-A")).code == 1
    assert (await cli.run("get", "--watch", "-o", "json")).code == 1
    none = await Cli(str(tmp_path / "no-kubeconfig"), cli.namespace).run("get")
    assert none.code == 1
    assert "cannot use the cluster configuration" in none.err


async def test_missing_read_permission_is_reported(
    world: World, cli: Cli, kubectl: Callable[..., Any], tmp_path: Path
) -> None:
    kubectl("-n", cli.namespace, "create", "serviceaccount", "guest")
    token = kubectl("-n", cli.namespace, "create", "token", "guest").out.strip()
    guest = Cli(config_of(cli.kubeconfig, tmp_path / "guest", token=token), cli.namespace)
    refused = await guest.run("get")
    assert refused.code == 1
    assert "forbidden: " in refused.err
    assert "modeldeployments" in refused.err
    assert (await guest.run("diff", "-f", "-", stdin=manifest(cli.namespace))).code == 2
    kubectl(
        "-n",
        cli.namespace,
        "create",
        "role",
        "reader",
        "--verb=get,list,watch",
        "--resource=modeldeployments.sluicegate.dev",
    )
    kubectl(
        "-n",
        cli.namespace,
        "create",
        "rolebinding",
        "reader",
        "--role=reader",
        f"--serviceaccount={cli.namespace}:guest",
    )
    await world.resource()
    deadline = time.monotonic() + 20
    while (result := await guest.run("get", "demo")).code != 0:
        assert time.monotonic() < deadline, result
    assert "Name " in result.out
    assert "note: Pods are not shown" in result.out
    assert "note: Events are not shown" in result.out


async def test_missing_crd_is_reported(cli: Cli, kubectl: Callable[..., Any], crd: Path) -> None:
    kubectl("delete", "-f", str(crd))
    try:
        for result in (await cli.run("get"), await cli.run("get", "demo"), await cli.run("get", "-w")):
            assert result.code == 1
            assert "the CRD modeldeployments.sluicegate.dev does not exist in this cluster" in result.err
        assert (await cli.run("diff", "-f", "-", stdin=manifest(cli.namespace))).code == 2
    finally:
        kubectl("apply", "--server-side", "--force-conflicts", "-f", str(crd))
        deadline = time.monotonic() + 30
        while kubectl("get", "mdep", check=False).code != 0:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
