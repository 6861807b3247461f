"""One pass: a fresh API server, one client, N resources. The operator's pass goes on with pods, changes, rest and a restart."""

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
"""Requests in flight of the user, and workers of the bare client: as many as the operator reconciles at once."""
WARM_UP = 10
TIMEOUT = 1200.0
Json = dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """What happened from one point to the next."""

    name: str
    seconds: float
    """Created: from the first request of the user to the last child. Else how long the phase was watched."""
    cpu: float
    memory: float
    """MB, the most since the process began."""
    tally: audit.Tally


@dataclass(frozen=True)
class Pass:
    """One client's pass."""

    client: str
    resources: int
    children: int
    """Of one resource."""
    phases: list[Phase] = field(default_factory=list)

    def phase(self, name: str) -> Phase | None:
        """The phase of that name, if the pass had it."""
        return next((each for each in self.phases if each.name == name), None)


@dataclass(frozen=True)
class Plan:
    """What a pass does."""

    resources: int
    cluster: str
    rest: float = 0.0
    """Seconds at rest; 0 ends the pass once the children exist."""
    quiet: float = 4.0
    """Seconds without a write after which a phase is over; more than the operator ever waits for itself here."""
    profile: Path | None = None
    """Where py-spy writes the stacks of the operator while it creates."""


def resource(name: str, namespace: str) -> Json:
    """A resource that needs no registry, so that the control plane is what is measured."""
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
    """What the resource of that number is called."""
    return f"model-{number:04d}"


def rendered(folder: Path) -> list[bare.Child]:
    """The children that the operator would make, by `sluicegate render`: what the bare client writes."""
    sample = folder / "sample.json"
    sample.write_text(json.dumps(resource(bare.NAME, bare.NAMESPACE)))
    argv = [sys.executable, "-m", "sluicegate.cli.main", "render", "-f", str(sample)]
    printed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return bare.texts([each for each in yaml.safe_load_all(printed) if each])


class Run:
    """A pass under way."""

    def __init__(
        self,
        bed: testbed.Testbed,
        user: api.Api,
        measured: process.Process,
        client: str,
        heard: Callable[[audit.Request], None] = lambda _: None,
    ) -> None:
        """`client` is the measured client's name in the audit log; `heard` is told each of its requests about what is measured."""
        self._bed = bed
        self._user = user
        self._client = client
        self._heard = heard
        self.process = measured
        self.tally = audit.Tally()
        self.born = 0
        """Children that exist in the measured namespace."""
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.written_at = time.monotonic()
        self._cpu = 0.0
        self._began = time.monotonic()

    def begin(self) -> None:
        """Starts a phase: what was written before is not its."""
        self.look()
        self.tally = audit.Tally()
        self._cpu, self._began = self.process.cpu(), time.monotonic()

    def end(self, name: str, seconds: float | None = None) -> Phase:
        """The phase that began last."""
        self.look()
        watched = time.monotonic() - self._began
        cpu = self.process.cpu() - self._cpu
        return Phase(name, seconds if seconds is not None else watched, cpu, self.process.memory(), self.tally)

    def look(self) -> None:
        """Reads on in the audit log."""
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
        """Waits for `done`, reading on meanwhile."""
        deadline = time.monotonic() + TIMEOUT
        while not await done():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not after {TIMEOUT:.0f} s")
            await asyncio.sleep(pause)
            self.look()

    async def quiet(self, seconds: float) -> None:
        """Waits until nothing but leases has been written for so long."""

        async def silent() -> bool:
            return time.monotonic() - self.written_at >= seconds

        self.written_at = time.monotonic()
        await self.until("the client to become quiet", silent)

    async def create(self, count: int, namespace: str, make: Callable[[str, str], Json] = resource) -> None:
        """The user's part: `make` gives a resource by its name and namespace."""

        async def one(number: int) -> None:
            body = json.dumps(make(name_of(number), namespace)).encode()
            await self._user.send("POST", api.in_namespace(api.RESOURCES, namespace), body)

        await api.each(range(count), PARALLEL, one)

    async def change(self, count: int, spec: Json) -> None:
        """The user changes every resource's spec."""
        await api.each(range(count), PARALLEL, lambda number: self.change_one(number, spec))

    async def change_one(self, number: int, spec: Json) -> None:
        """The user changes one resource's spec."""
        path = api.in_namespace(api.RESOURCES, testbed.MEASURED, name_of(number))
        await self._user.send("PATCH", path, json.dumps({"spec": spec}).encode(), api.MERGE_PATCH)

    async def all_ready(self) -> bool:
        """Whether every resource is Ready at its present generation."""
        listed = await self._user.get(api.in_namespace(api.RESOURCES, testbed.MEASURED) + "?resourceVersion=0")
        return all(_ready(each) for each in listed["items"])

    async def children_exist(self, count: int) -> None:
        """Waits for so many children in the measured namespace."""

        async def born() -> bool:
            return self.born >= count

        await self.until(f"{count} children to exist", born)


def _ready(each: Json) -> bool:
    status = each.get("status") or {}
    if status.get("observedGeneration") != each["metadata"]["generation"]:
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())


async def _created(run: Run, plan: Plan, children: int) -> Phase:
    """The first phase, the same for both clients."""
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
    """The bare client's pass: it only creates."""
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
    """The operator's pass, with pods, changes, rest and a restart where `plan` asks for them."""
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
    list(bed.log.new())  # what the process before wrote last
    with process.operator(bed.operator_kubeconfig, log.with_name("operator-restarted.log")) as operator:
        run = Run(bed, user, operator.process, testbed.OPERATOR)

        async def seen_all() -> bool:
            return operator.reconciles() >= plan.resources + WARM_UP

        await run.until("the operator to look at every resource again", seen_all, pause=1.0)
        await run.quiet(plan.quiet)
        return run.end("restarted")
