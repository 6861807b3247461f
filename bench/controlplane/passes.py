"""One pass of the benchmark: a new API server, one client and N resources.

The pass of the operator continues with pods, changes, rest and a restart.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from bench.controlplane import api, audit, bare, process, testbed
from bench.controlplane.profiler import profiled

PARALLEL = 8
"""Number of the user's concurrent requests and of the bare client's workers.

The operator reconciles as many resources at once.
"""
WARM_UP = 10
TIMEOUT = 1200.0
Json = dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """The measurements of one phase."""

    name: str
    seconds: float
    """Duration of the phase.

    For the phase `created`: from the user's first request until the last child exists.
    """
    cpu: float
    memory: float
    """Peak memory since the start of the process, in MB."""
    tally: audit.Tally


@dataclass(frozen=True)
class Pass:
    """The results of one pass of one client."""

    client: str
    resources: int
    children: int
    """Number of children per resource."""
    phases: list[Phase] = field(default_factory=list)

    def phase(self, name: str) -> Phase | None:
        """Return the phase called `name`, or None if the pass did not have it."""
        return next((each for each in self.phases if each.name == name), None)


@dataclass(frozen=True)
class Plan:
    """The parameters of a pass."""

    resources: int
    cluster: str
    rest: float = 0.0
    """Duration of the phase `at rest` in seconds; 0 ends the pass once the children exist."""
    quiet: float = 4.0
    """Seconds without a write after which a phase is over.

    This is longer than any delay of the operator in this benchmark.
    """
    profile: Path | None = None
    """File for the stacks that py-spy samples while the operator creates the children. None disables py-spy."""


def resource(name: str, namespace: str) -> Json:
    """Return a resource that needs no registry, so that only the control plane is measured."""
    return {
        "apiVersion": "sluicegate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"uri": "image:///opt/model"},
            "runtime": {"name": "custom", "image": "registry.example.com/ml/sentiment:1.4.0"},
            "scaling": {"replicas": 1},
            "rollout": {"scaleDownDelay": "1s"},
        },
    }


def name_of(number: int) -> str:
    """Return the name of the resource with the given number."""
    return f"model-{number:04d}"


def rendered(folder: Path) -> list[bare.Child]:
    """Return the children that the operator would create, from `sluicegate render`.

    The bare client writes these children.
    """
    sample = folder / "sample.json"
    sample.write_text(json.dumps(resource(bare.NAME, bare.NAMESPACE)))
    argv = [sys.executable, "-m", "sluicegate.cli.main", "render", "-f", str(sample)]
    printed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return bare.texts([document for document in yaml.safe_load_all(printed) if document])


class Run:
    """A pass in progress."""

    def __init__(
        self,
        bed: testbed.Testbed,
        user: api.Api,
        measured: process.Process,
        client: str,
        heard: Callable[[audit.Request], None] = lambda _: None,
    ) -> None:
        """Measure one client on the control plane `bed`.

        Args:
            bed: the control plane
            user: client that sends the user's requests
            measured: process of the measured client
            client: user name of the measured client in the audit log
            heard: called with each of the measured client's requests in the measured namespace
        """
        self._bed = bed
        self._user = user
        self._client = client
        self._heard = heard
        self.process = measured
        self.tally = audit.Tally()
        self.born = 0
        """Number of children created in the measured namespace."""
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.written_at = time.monotonic()
        self._cpu = 0.0
        self._began = time.monotonic()

    def begin(self) -> None:
        """Start a phase, and leave out the requests so far."""
        self.look()
        self.tally = audit.Tally()
        self._cpu, self._began = self.process.cpu(), time.monotonic()

    def end(self, name: str, seconds: float | None = None) -> Phase:
        """Return the measurements of the phase that began last.

        Args:
            name: name of the phase
            seconds: its duration; None means the time since `begin`
        """
        self.look()
        watched = time.monotonic() - self._began
        cpu = self.process.cpu() - self._cpu
        return Phase(name, seconds if seconds is not None else watched, cpu, self.process.memory(), self.tally)

    def look(self) -> None:
        """Read the new requests in the audit log."""
        self.process.check()
        for request in self._bed.log.new():
            if request.user == testbed.USER and request.verb == "create" and request.namespace == testbed.MEASURED:
                self.first = self.first or request.began
            if request.user != self._client or request.namespace == testbed.WARM_UP:
                continue
            self.tally.add(request)
            if request.namespace == testbed.MEASURED:
                self._heard(request)
            if request.is_write and request.resource not in (audit.LEASES, audit.EVENTS):
                self.written_at = time.monotonic()
            if request.code == 201 and request.namespace == testbed.MEASURED and request.resource != audit.EVENTS:
                self.born += 1
                self.last = request.ended

    async def until(self, what: str, done: Callable[[], Awaitable[bool]], pause: float = 0.25) -> None:
        """Wait until `done` returns True, and read the audit log in the meantime.

        Args:
            what: what is waited for, for the error message
            done: the condition
            pause: seconds between two checks

        Raises:
            RuntimeError: the condition is not met within `TIMEOUT` seconds, or the measured process has ended.
        """
        deadline = time.monotonic() + TIMEOUT
        while not await done():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not after {TIMEOUT:.0f} s")
            await asyncio.sleep(pause)
            self.look()

    async def quiet(self, seconds: float) -> None:
        """Wait until the client has written nothing for `seconds`, except Leases and Events."""

        async def silent() -> bool:
            return time.monotonic() - self.written_at >= seconds

        self.written_at = time.monotonic()
        await self.until("the client to become quiet", silent)

    async def create(self, count: int, namespace: str, make: Callable[[str, str], Json] = resource) -> None:
        """Create `count` resources as the user.

        Args:
            count: number of resources
            namespace: their namespace
            make: returns a resource for a name and a namespace
        """

        async def one(number: int) -> None:
            body = json.dumps(make(name_of(number), namespace)).encode()
            await self._user.send("POST", api.in_namespace(api.RESOURCES, namespace), body)

        await api.each(range(count), PARALLEL, one)

    async def change(self, count: int, spec: Json) -> None:
        """Merge `spec` into the spec of every resource, as the user."""
        await api.each(range(count), PARALLEL, lambda number: self.change_one(number, spec))

    async def change_one(self, number: int, spec: Json) -> None:
        """Merge `spec` into the spec of one resource, as the user."""
        path = api.in_namespace(api.RESOURCES, testbed.MEASURED, name_of(number))
        await self._user.send("PATCH", path, json.dumps({"spec": spec}).encode(), api.MERGE_PATCH)

    async def all_ready(self) -> bool:
        """Tell whether every resource is Ready at its current generation."""
        listed = await self._user.get(api.in_namespace(api.RESOURCES, testbed.MEASURED) + "?resourceVersion=0")
        return all(_ready(item) for item in listed["items"])

    async def children_exist(self, count: int) -> None:
        """Wait until `count` children exist in the measured namespace."""

        async def born() -> bool:
            return self.born >= count

        await self.until(f"{count} children to exist", born)


def _ready(each: Json) -> bool:
    status = each.get("status") or {}
    if status.get("observedGeneration") != each["metadata"]["generation"]:
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())


async def _created(run: Run, plan: Plan, children: int) -> Phase:
    """Run the phase `created`, which is the same for both clients."""
    await run.create(WARM_UP, testbed.WARM_UP)
    await run.quiet(plan.quiet)
    run.begin()
    await run.create(plan.resources, testbed.MEASURED)
    await run.children_exist(plan.resources * children)
    assert run.first is not None and run.last is not None
    seconds = (run.last - run.first).total_seconds()
    await run.quiet(plan.quiet)
    return run.end("created", seconds)


async def bare_pass(plan: Plan) -> Pass:
    """Run a pass of the bare client, which has the phase `created` only."""
    with testbed.fresh(plan.cluster) as bed:
        children = rendered(bed.cluster.state)
        texts = bed.cluster.state / "children.json"
        texts.write_text(json.dumps(children))
        argv = [sys.executable, "-m", "bench.controlplane.bare", bed.cluster.server, str(bed.keys), str(texts)]
        with process.running(argv, bed.cluster.state / "logs" / "bare.log") as client:
            async with api.Api.connect(bed.cluster.server, bed.keys, testbed.USER) as user:
                run = Run(bed, user, client, bare.USER)
                return Pass("bare", plan.resources, len(children), [await _created(run, plan, len(children))])


async def operator_pass(plan: Plan) -> Pass:
    """Run a pass of the operator.

    The phases after `created` (pods, changes, rest and a restart) only take place if `plan.rest` is not 0.
    """
    with testbed.fresh(plan.cluster) as bed:
        count = len(rendered(bed.cluster.state))
        done = Pass("operator", plan.resources, count)
        log = bed.cluster.state / "logs" / "operator.log"
        async with AsyncExitStack() as stack:
            user = await stack.enter_async_context(api.Api.connect(bed.cluster.server, bed.keys, testbed.USER))
            with process.operator(bed.operator_kubeconfig, log) as operator:
                with profiled(operator.process, plan.profile):
                    run = Run(bed, user, operator.process, testbed.OPERATOR)
                    done.phases.append(await _created(run, plan, count))
                if plan.rest:
                    done.phases.extend([each async for each in _lived(run, plan, bed)])
            if plan.rest:
                done.phases.append(await _restarted(bed, user, plan, log))
        return done


async def _lived(run: Run, plan: Plan, bed: testbed.Testbed) -> AsyncIterator[Phase]:
    run.begin()
    bed.start_controllers()
    await _settled(run, plan)
    yield run.end("ready")
    for name, spec in (
        ("replicas changed", {"scaling": {"replicas": 2}}),
        ("env changed", {"runtime": {"env": [{"name": "THREADS", "value": "2"}]}}),
    ):
        run.begin()
        await run.change(plan.resources, spec)
        await _settled(run, plan)
        yield run.end(name)
    run.begin()
    await asyncio.sleep(plan.rest)
    yield run.end("at rest")


async def _settled(run: Run, plan: Plan) -> None:
    await run.until("every resource to be Ready", run.all_ready, pause=2.0)
    await run.quiet(plan.quiet)


async def _restarted(bed: testbed.Testbed, user: api.Api, plan: Plan, log: Path) -> Phase:
    list(bed.log.new())  # skip the last requests of the previous process
    with process.operator(bed.operator_kubeconfig, log.with_name("operator-restarted.log")) as operator:
        run = Run(bed, user, operator.process, testbed.OPERATOR)

        async def seen_all() -> bool:
            return operator.reconciles() >= plan.resources + WARM_UP

        await run.until("the operator to look at every resource again", seen_all, pause=1.0)
        await run.quiet(plan.quiet)
        return run.end("restarted")
