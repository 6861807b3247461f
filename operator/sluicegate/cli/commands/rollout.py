"""`sluicegate promote`, `abort`, `pause` and `resume`.

These commands steer a rollout by annotations. They do not change the spec, so a GitOps tool has nothing to revert.
`cli/steering/actions.py` decides what each command writes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from sluicegate.cli import cluster
from sluicegate.cli.steering import actions
from sluicegate.cli.steering.actions import Order
from sluicegate.cli.steering.apply import Annotations, Named, annotate
from sluicegate.cli.steering.revisions import History
from sluicegate.kube.client import KubeClient


def promote(options: argparse.Namespace) -> int:
    """Promote the rollout past its current step, or with `--full` past all steps."""
    return _give(options, lambda known: actions.promote(known, full=options.full))


def abort(options: argparse.Namespace) -> int:
    """Abort the rollout, so that all traffic returns to stable."""
    return _give(options, actions.abort)


def pause(options: argparse.Namespace) -> int:
    """Keep the rollout at its current step."""
    return _give(options, actions.pause)


def resume(options: argparse.Namespace) -> int:
    """End the pause that `pause` began."""
    return _give(options, actions.resume)


def _give(options: argparse.Namespace, decide: Callable[[History], Order]) -> int:
    where = Named(cluster.namespace(options), options.name)

    async def work(client: KubeClient) -> int:
        given: list[Order] = []

        def changes(known: History) -> Annotations:
            given[:] = [decide(known)]
            return given[0].annotations

        await annotate(client, where, changes)
        for line in given[0].told:
            print(line)
        return 0

    return cluster.run(options, work)
