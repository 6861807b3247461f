"""Many concurrent rollouts on a real API server: their pace and their writes."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bench.controlplane import api, gate, pace, passes, process, testbed

WEIGHTS = (10, 50, 75)
REPLICAS = 2
Json = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """The parameters of one run."""

    rollouts: int
    cluster: str
    hold: float
    """Hold of each step, in seconds."""
    spread: float
    """Time over which the user starts the rollouts at a steady rate, in seconds."""
    judged: bool
    """Whether an analysis judges every step by the pods' counters."""

    @property
    def interval(self) -> float:
        """Return the interval of the analysis in seconds.

        It is the default of 15s, or a quarter of the hold if that is shorter.
        """
        return min(15.0, self.hold / 4)


@dataclass(frozen=True)
class Result:
    """The results of one run."""

    plan: Plan
    pace: pace.Pace
    phase: passes.Phase
    load: tuple[float, float]
    """Load average before and after the run."""


def spec_of(plan: Plan) -> Json:
    """Return the part of a resource's spec that sets scaling, traffic and rollout."""
    hold, interval = f"{plan.hold * 1000:.0f}ms", f"{plan.interval * 1000:.0f}ms"
    rollout: Json = {"steps": [{"weight": weight, "hold": hold} for weight in WEIGHTS], "scaleDownDelay": "1s"}
    if plan.judged:
        errors = {"name": "errors", "type": "ErrorRate", "limit": 0.05}
        latency = {"name": "slowness", "type": "LatencyP99", "limit": 0.5, "ratio": 2.0}
        rollout["analysis"] = {"interval": interval, "warmUp": interval, "metrics": [errors, latency]}
    return {
        "scaling": {"replicas": REPLICAS},
        "traffic": {"gateway": {"parentRefs": [{"name": gate.GATEWAY}]}},
        "rollout": rollout,
    }


async def run(plan: Plan) -> Result:
    """Start the control plane and the operator, run the rollouts, and wait until each has ended.

    The rollouts start at a steady rate.
    """
    before = os.getloadavg()[0]
    paces = pace.Pace(len(WEIGHTS))
    with testbed.fresh(plan.cluster, statuses=True) as bed:
        async with AsyncExitStack() as stack:
            connect = api.Api.connect
            user = await stack.enter_async_context(connect(bed.cluster.server, bed.keys, testbed.USER))
            gateways = await stack.enter_async_context(connect(bed.cluster.server, bed.keys, testbed.GATE))
            await stack.enter_async_context(gate.gateway(gateways, testbed.MEASURED))
            if plan.judged:
                await stack.enter_async_context(gate.pods())
            log = bed.cluster.state / "logs" / "operator.log"
            operator = stack.enter_context(process.operator(bed.operator_kubeconfig, log))
            watched = passes.Run(bed, user, operator.process, testbed.OPERATOR, paces.heard)
            await _first_revisions(watched, plan, bed)
            phase = await _rolled_out(watched, plan, paces)
    return Result(plan, paces, phase, (before, os.getloadavg()[0]))


async def _first_revisions(watched: passes.Run, plan: Plan, bed: testbed.Testbed) -> None:
    def make(name: str, namespace: str) -> Json:
        made = passes.resource(name, namespace)
        return {**made, "spec": {**made["spec"], **spec_of(plan)}}

    bed.start_controllers()
    await watched.create(plan.rollouts, testbed.MEASURED, make)
    await watched.until("every first revision to be Ready", watched.all_ready, pause=2.0)
    await watched.quiet(4.0)


async def _rolled_out(watched: passes.Run, plan: Plan, paces: pace.Pace) -> passes.Phase:
    watched.begin()
    began = time.monotonic()
    for number in range(plan.rollouts):
        await asyncio.sleep(max(0.0, began + number * plan.spread / plan.rollouts - time.monotonic()))
        watched.look()
        paces.start(passes.name_of(number), datetime.now(UTC))
        await watched.change_one(number, {"runtime": {"env": [{"name": "THREADS", "value": "2"}]}})

    async def over() -> bool:
        return paces.over() == plan.rollouts

    await watched.until("every rollout to be over", over, pause=1.0)
    await watched.quiet(4.0)
    return watched.end("rollouts")
