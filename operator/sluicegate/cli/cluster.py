"""Commands that talk to a cluster: kubectl's own options, and what to do when the cluster says no."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from sluicegate.api import names
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden, KubeError, NotFound, Unauthorized, Unreachable
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.kube.transport import ClientOptions


class Failed(Exception):
    """The command cannot go on; a sentence for the user."""


def namespace(options: argparse.Namespace) -> str:
    """The namespace that the options, or the context, name."""
    from sluicegate.kube import context

    return options.namespace or context.namespace(options.kubeconfig, options.context)


def run(
    options: argparse.Namespace,
    work: Callable[[KubeClient], Coroutine[Any, Any, int]],
    *,
    failure: int = 1,
    observe: Callable[[str, str, str, float], None] | None = None,
) -> int:
    """Opens a client and runs `work` with it, until it ends or somebody interrupts it.

    Args:
        options: The command's, with kubeconfig and context.
        work: Gets the client, returns the exit code.
        failure: Exit code where the cluster does not let the command do its work.
        observe: Told of each request, see `ClientOptions.on_request`.
    """

    async def connected() -> int:
        async with KubeClient.connect(
            options.kubeconfig, options.context, ClientOptions(timeout=30.0, on_request=observe)
        ) as client:
            return await work(client)

    try:
        return asyncio.run(_interruptible(connected()))
    except Failed as error:
        sentence = str(error)
    except KubeError as error:
        sentence = explain(error)
    print(f"{options.prog}: {sentence}", file=sys.stderr)
    return failure


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Ends `work` on Ctrl-C and SIGTERM as if it had returned, so that the terminal is left in order."""
    task = asyncio.ensure_future(work)
    ended_by: list[int] = []

    def end(number: int) -> None:
        ended_by.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not ended_by:
            raise
        return 128 + ended_by[0]


def explain(error: KubeError) -> str:
    """What went wrong, and what to do."""
    match error:
        case Unreachable():
            return f"no cluster answers: {error}; check the context (kubectl config current-context) and the network"
        case Unauthorized():
            return f"the cluster does not accept your credentials: {error.message}; log in again, or choose another --context"
        case Forbidden():
            return f"you may not do that: {error.message}; ask for a role that allows it"
        case NotFound():
            return f"not found: {error.message}"
    return str(error)


async def require_crd(client: KubeClient, where: str | None) -> None:
    """Returns if the cluster has ModelDeployments.

    Raises:
        Failed: it has not.
    """
    try:
        await client.list(MODEL_DEPLOYMENT, where, limit=1)
    except NotFound as error:
        raise no_crd() from error


def no_crd() -> Failed:
    """The failure for a cluster without Sluicegate."""
    return Failed(
        f"this cluster has no {names.PLURAL}.{names.GROUP}: install Sluicegate, or choose another cluster with --context"
    )
