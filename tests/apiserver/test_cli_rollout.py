"""The live view of a rollout and the commands that steer it.

They run on a real API server. The test writes the state of the rollout by hand.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.health import HealthServer

from tests.apiserver.command import Cli, config_of, output_until
from tests.apiserver.testbed import FIRST, NODE, SECOND, World
from tests.support.rollout_status import METRICS, NEXT, OLD, STABLE, STEPS, revision

pytestmark = pytest.mark.usefixtures("crd")
PREFIX = "sluicegate.dev/"


def _time(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Rollout:
    """A ModelDeployment with steps, for which the test acts as the operator."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    async def make(self, **spec: Any) -> None:
        rollout = {"steps": STEPS, "analysis": {"metrics": METRICS}}
        runtime = {"name": "custom", "image": "example/model:1"}
        spec = {"model": {"uri": FIRST}, "runtime": runtime, "rollout": rollout, **spec}
        manifest = {"metadata": {"name": "churn", "namespace": self.namespace}, "spec": spec}
        await self.client.apply(kinds.MODEL_DEPLOYMENT, manifest, manager="user")

    async def status(self, role: str = "Candidate", **rollout: Any) -> None:
        """Write the state of the rollout to status."""
        state = {"candidate": NEXT, "startedAt": _time(-300), "stepStartedAt": _time(-60), "weight": 25, **rollout}
        status = {
            "observedGeneration": 1,
            "revisions": [
                revision(NEXT, role, 8, weight=25, acceptedWeight=25),
                revision(STABLE, "Stable", 7, weight=75, acceptedWeight=75),
            ],
            "rollout": state,
        }
        metadata = {"name": "churn", "namespace": self.namespace}
        await self.client.apply(
            kinds.MODEL_DEPLOYMENT,
            {"metadata": metadata, "status": status},
            manager="sluicegate-status",
            subresource="status",
        )

    async def annotations(self) -> dict[str, str]:
        raw = await self.client.get(kinds.MODEL_DEPLOYMENT, self.namespace, "churn")
        assert raw is not None
        annotations = raw["metadata"].get("annotations") or {}
        return {key.removeprefix(PREFIX): value for key, value in annotations.items()}

    async def annotate(self, **values: str | None) -> None:
        patch = {"metadata": {"annotations": {PREFIX + key: value for key, value in values.items()}}}
        await self.client.merge_patch(kinds.MODEL_DEPLOYMENT, self.namespace, "churn", patch)


@pytest.fixture
async def rollout(client: KubeClient, namespace: str) -> Rollout:
    return Rollout(client, namespace)


class Values:
    """The values that the operator measures, served as the operator serves them."""

    def __init__(self, namespace: str) -> None:
        self.registry = CollectorRegistry()
        self._about = {"namespace": namespace, "name": "churn"}
        self._gauges: dict[str, Gauge] = {}

    def set(self, name: str, value: float, **labels: str) -> None:
        every = {**self._about, **labels}
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"sluicegate_{name}", "Measured.", list(every), registry=self.registry)
        self._gauges[name].labels(**every).set(value)


def _address() -> str:
    """Return an address of this machine that may be a pod's address.

    The API server rejects loopback addresses.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # This call sends nothing.
        return str(probe.getsockname()[0])


@contextlib.asynccontextmanager
async def _operator_pod(client: KubeClient, namespace: str, values: Values) -> AsyncIterator[None]:
    """Create a pod with the operator's labels, whose metrics this process serves."""
    async with HealthServer({}, {}, values.registry, 0, "0.0.0.0") as server:
        labels = {"app.kubernetes.io/name": "sluicegate"}
        ports = [{"name": "health", "containerPort": server.port}]
        spec = {"nodeName": NODE, "containers": [{"name": "operator", "image": "example/operator:1", "ports": ports}]}
        metadata = {"name": "sluicegate-0", "namespace": namespace, "labels": labels}
        await client.create(kinds.POD, {"metadata": metadata, "spec": spec})
        address = _address()
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        await client.merge_patch(kinds.POD, namespace, "sluicegate-0", {"status": status}, subresource="status")
        yield


async def test_live_view_of_a_rollout(
    rollout: Rollout, cli: Cli, client: KubeClient, kubectl: Callable[..., Any], tmp_path: Path
) -> None:
    await rollout.make()
    await rollout.status(phase="Holding", stepIndex=1, until=_time(3000), reason="Holding", message="Holds.")
    alone = await cli.run("get", "churn")
    assert alone.code == 0, alone
    assert "Rollout    Holding at step 2 of 4 (25%, hold 10m)" in alone.out
    assert f"sluicegate promote churn -n {cli.namespace}" in alone.out
    assert "Not live, from status: no pod with the label" in alone.out
    assert "\x1b" not in alone.out

    values = Values(cli.namespace)
    values.set("analysis_value", 0.0031, metric="errors", side="candidate")
    values.set("analysis_outcome", 1, metric="errors", outcome="Passed")
    values.set("rollout_requests_share", 24.6, revision=NEXT)
    async with _operator_pod(client, cli.namespace, values):
        process = await cli.start("get", "churn", "--watch")
        try:
            first = await output_until(process, "24.6% measured")
            assert "✓ 1    5%" in first or "✓ 1" in await output_until(process, "✓ 1")
            await output_until(process, "errors    Passed        0.31%")
            values.set("analysis_value", 0.0123, metric="errors", side="candidate")
            await output_until(process, "errors    Passed        1.23%")
            await rollout.status(
                phase="Paused", stepIndex=2, reason="RolloutPaused", message="Step 3 waits for approval."
            )
            await output_until(process, "Cause      Step 3 waits for approval.")
            await output_until(process, f"sluicegate promote churn -n {cli.namespace}   continues with step 4")
            await rollout.status(role="Stable", phase="Idle")
            block = "Rollout"
            while "Rollout" in block:  # The output may still contain earlier views.
                await output_until(process, "--- ")
                block = await output_until(process, f"churn-{STABLE} #7")
        finally:
            process.terminate()
            await process.wait()

        await rollout.status(phase="Holding", stepIndex=1, until=_time(3000), reason="Holding", message="Holds.")
        where = ["-n", cli.namespace, "create"]
        kubectl(*where, "serviceaccount", "guest")
        kubectl(*where, "rolebinding", "guest", "--clusterrole=view", f"--serviceaccount={cli.namespace}:guest")
        kubectl(
            *where,
            *("role", "reader", "--verb=get,list,watch"),
            *("--resource=modeldeployments.sluicegate.dev", "--resource=events"),
        )
        kubectl(*where, "rolebinding", "reader", "--role=reader", f"--serviceaccount={cli.namespace}:guest")
        token = kubectl(*where, "token", "guest").out.strip()
        guest = Cli(config_of(cli.kubeconfig, tmp_path / "guest", token=token), cli.namespace)
        deadline = time.monotonic() + 30
        while (result := await guest.run("get", "churn")).code != 0:
            assert time.monotonic() < deadline, result
        assert "Not live, from status: no permission to list the operator's pods" in result.out, result
        assert "measured" not in result.out


async def test_each_command_writes_only_its_annotation(rollout: Rollout, cli: Cli) -> None:
    await rollout.make()
    early = await cli.run("promote", "churn")
    assert early.code == 1
    assert "no rollout of churn is in progress" in early.err
    assert "The operator has not observed generation 1 yet" in early.err
    await rollout.status(phase="Holding", stepIndex=1, until=_time(3000))
    await rollout.annotate(abort=OLD)

    result = await cli.run("promote", "churn")
    assert result.code == 0, result
    assert f"churn-{NEXT} #8 (churn/8) continues past step 2 of 4 (25%, hold 10m)" in result.out
    assert f"Removed the annotation sluicegate.dev/abort, which named {OLD}" in result.out
    assert await rollout.annotations() == {"promote": f"{NEXT}/2"}
    again = await cli.run("promote", "churn")
    assert "nothing was changed" in again.out
    live = await rollout.client.get(kinds.MODEL_DEPLOYMENT, cli.namespace, "churn")
    assert live is not None
    assert "sluicegate-cli" in {field["manager"] for field in live["metadata"]["managedFields"]}

    for command, text, left in (
        (("pause", "churn"), "stays at step 2 of 4", {"pause": NEXT}),
        (("resume", "churn"), "ends. The rollout continues from step 2 of 4", {}),
        (
            ("promote", "churn", "--full"),
            "becomes stable as soon as its pods can carry",
            {"promote": NEXT},
        ),
        (("abort", "churn"), f"all requests return to churn-{STABLE} #7", {"abort": NEXT}),
    ):
        result = await cli.run(*command)
        assert result.code == 0, result
        assert text in result.out
        assert await rollout.annotations() == left
    refused = await cli.run("promote", "churn")
    assert refused.code == 1
    assert "was aborted: run `sluicegate retry churn " in refused.err


async def test_retry_removes_an_abort(rollout: Rollout, cli: Cli) -> None:
    await rollout.make()
    await rollout.status(role="Failed", phase="RolledBack", stepIndex=1, reason="Aborted", message="Rolled back.")
    await rollout.annotate(abort=NEXT, promote=NEXT)
    retrying = asyncio.create_task(cli.run("retry", "churn"))
    deadline = time.monotonic() + 30
    while (now := await rollout.annotations()) != {"retry": NEXT}:
        assert time.monotonic() < deadline, now
        await asyncio.sleep(0.1)
    await rollout.status(phase="Waiting")
    result = await retrying
    assert result.code == 0, result
    assert "is tried again, from step 1 (5%, hold 5m)" in result.out
    assert await rollout.annotations() == {}


async def test_declared_canary_is_not_promoted_but_aborted(rollout: Rollout, cli: Cli) -> None:
    await rollout.make(rollout={}, canary={"weight": 10, "model": {"uri": "image:///opt/model-2"}})
    await rollout.status(role="Canary", phase="Idle")
    refused = await cli.run("promote", "churn")
    assert refused.code == 1
    assert "move the content of spec.canary into the base of the spec and remove spec.canary" in refused.err
    result = await cli.run("abort", "churn")
    assert result.code == 0, result
    assert "gets no requests until spec.canary changes" in result.out
    lifted = await cli.run("retry", "churn")
    assert "gets the share of spec.canary again" in lifted.out
    assert await rollout.annotations() == {}


async def _at(world: World, phase: str, index: int | None) -> None:
    """Wait until status has the rollout in this phase at this step."""

    async def back_reader() -> bool:
        raw = (await world.status()).get("rollout") or {}
        return (raw.get("phase"), raw.get("stepIndex")) == (phase, index)

    await world.until(back_reader)


async def test_operator_acts_on_the_commands(world: World, cli: Cli) -> None:
    steps = [{"weight": 50, "pause": {}}, {"weight": 50, "hold": "1h"}, {"weight": 75, "hold": "1h"}]
    fields: dict[str, Any] = {"rollout": {"steps": steps, "scaleDownDelay": "1s"}, "scaling": {"replicas": 2}}
    async with world.operator():
        await world.resource(**fields)
        await world.until_serving()
        await world.resource(uri=SECOND, **fields)
        await _at(world, "Paused", 0)
        shown = (await cli.run("get", "demo")).out
        assert "Rollout    Paused at step 1 of 3 (50%, pause until promoted)" in shown
        assert "▶ 1    50%" in shown
        assert (await cli.run("abort", "demo")).code == 0

        async def back() -> bool:
            return await world.condition("Ready") == ("False", "Aborted")

        await world.until(back)
        assert "was aborted" in (await cli.run("promote", "demo")).err
        lifted = await cli.run("retry", "demo")
        assert lifted.code == 0, lifted
        await _at(world, "Paused", 0)
        result = await cli.run("promote", "demo")
        assert "and its pause ends" in result.out
        await _at(world, "Holding", 1)
        assert (await cli.run("pause", "demo")).code == 0
        await _at(world, "Paused", 1)
        assert (await cli.run("resume", "demo")).code == 0
        await _at(world, "Holding", 1)
        assert (await cli.run("promote", "demo", "--full")).code == 0
        await world.until_serving(SECOND)
        nothing = await cli.run("promote", "demo")
        assert nothing.code == 1
        assert "no rollout of demo is in progress" in nothing.err
