"""What all commands that use a cluster share.

These are kubectl's options, the client, and the messages for errors of the API server.
"""

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
    """The command cannot continue. The text is the message for the user."""


def namespace(options: argparse.Namespace) -> str:
    """Return the namespace of the options, or else the one of the kubeconfig context."""
    from sluicegate.kube import context

    return options.namespace or context.namespace(options.kubeconfig, options.context)


def run(
    options: argparse.Namespace,
    work: Callable[[KubeClient], Coroutine[Any, Any, int]],
    *,
    failure: int = 1,
    observe: Callable[[str, str, str, float], None] | None = None,
) -> int:
    """Open a client and run `work` with it, until it ends or the user interrupts it.

    Args:
        options: The options of the command, with kubeconfig and context.
        work: The work of the command: takes the client, and returns the exit code.
        failure: The exit code where the command or a request fails.
        observe: Called after each request, see `ClientOptions.on_request`.

    Returns:
        The exit code. Where the command fails, this function also prints the message to standard error.
    """

    async def connected() -> int:
        async with KubeClient.connect(
            options.kubeconfig, options.context, ClientOptions(timeout=30.0, on_request=observe)
        ) as client:
            return await work(client)

    try:
        return asyncio.run(_interruptible(connected()))
    except Failed as error:
        message = str(error)
    except KubeError as error:
        message = explain(error)
    print(f"{options.prog}: {message}", file=sys.stderr)
    return failure


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Run `work`, and cancel it on Ctrl-C and SIGTERM.

    The cancellation runs the cleanup of `work`, so the state of the terminal is restored.

    Returns:
        The exit code of `work`, or 128 plus the number of the signal.
    """
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
    """Return the message for an error of the API server: what failed, and what to do."""
    match error:
        case Unreachable():
            return (
                f"the API server is not reachable: {error}. Check the context (kubectl config current-context) "
                "and the network"
            )
        case Unauthorized():
            return (
                f"the API server rejected the credentials: {error.message}. Log in again, or select another --context"
            )
        case Forbidden():
            return f"forbidden: {error.message}. Ask your administrator for the missing permission"
        case NotFound():
            return f"not found: {error.message}"
    return str(error)


async def require_crd(client: KubeClient, where: str | None) -> None:
    """Check that the cluster has the CRD ModelDeployment.

    Raises:
        Failed: The cluster does not have it.
    """
    try:
        await client.list(MODEL_DEPLOYMENT, where, limit=1)
    except NotFound as error:
        raise no_crd() from error


def no_crd() -> Failed:
    """Return the error for a cluster that does not have the CRD."""
    return Failed(
        f"the CRD {names.PLURAL}.{names.GROUP} does not exist in this cluster: "
        "install Sluicegate, or select another cluster with --context"
    )


def not_found(namespace: str, name: str) -> Failed:
    """Return the error for a ModelDeployment that does not exist."""
    return Failed(f"ModelDeployment {name} does not exist in namespace {namespace}")
