"""`sluicegate promote`, `abort`, `pause` and `resume`.

These commands steer a rollout by annotations. They do not change the spec, so a GitOps tool has nothing to revert.
`cli/steering/actions.py` decides what each command writes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from sluicegate.cli import cluster
from sluicegate.cli.steering import actions
from sluicegate.cli.steering.actions import Action
from sluicegate.cli.steering.apply import Annotations, Named, annotate
from sluicegate.cli.steering.revisions import History
from sluicegate.kube.client import KubeClient


def promote(options: argparse.Namespace) -> int:
    """Promote the rollout past its current step, or with `--full` past all steps."""
    return _perform(options, lambda history: actions.promote(history, full=options.full))


def abort(options: argparse.Namespace) -> int:
    """Abort the rollout, so that all traffic returns to stable."""
    return _perform(options, actions.abort)


def pause(options: argparse.Namespace) -> int:
    """Keep the rollout at its current step."""
    return _perform(options, actions.pause)


def resume(options: argparse.Namespace) -> int:
    """End the pause that `pause` began."""
    return _perform(options, actions.resume)


def _perform(options: argparse.Namespace, decide: Callable[[History], Action]) -> int:
    where = Named(cluster.namespace(options), options.name)

    async def work(client: KubeClient) -> int:
        decided: list[Action] = []

        def changes(history: History) -> Annotations:
            decided[:] = [decide(history)]
            return decided[0].annotations

        await annotate(client, where, changes)
        for line in decided[0].lines:
            print(line)
        return 0

    return cluster.run(options, work)
