"""Shell completion of `kubectl sluicegate`, as kubectl requests it.

kubectl runs `kubectl_complete-sluicegate` with the words so far, of which the last is incomplete.
It reads one candidate a line, and then a directive. Directive 4 means that the shell must not complete file names.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from sluicegate.cli import cluster
from sluicegate.cli.cluster import Failed
from sluicegate.cli.main import parsed, parser
from sluicegate.cli.steering.fetch import fetch_history
from sluicegate.cli.steering.revisions import History
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import KubeError
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.kube.transport import ClientOptions

Result = TypeVar("Result")
FILES, NO_FILES = 0, 4
_NEXT = "\0"
"""Stands for the word that is being completed. A user cannot type it."""
PATIENCE = 2.0
"""Seconds to wait for a cluster: a user who presses TAB does not wait longer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the candidates for the last word, and the directive."""
    *words, last = (sys.argv[1:] if argv is None else argv) or [""]
    directive, values = candidates(words, last)
    for value in values:
        print(value)
    print(f":{directive}")
    return 0


def candidates(words: Sequence[str], last: str) -> tuple[int, list[str]]:
    """Return the directive, and the words that complete `last`."""
    commands = next(action for action in parser()._actions if action.choices)  # argparse has no public API for this
    choices: dict[str, Any] = dict(commands.choices or {})
    if not words:
        return NO_FILES, [name for name in choices if name.startswith(last)]
    command = choices.get(words[0])
    if command is None:
        return NO_FILES, []
    flags = {flag: action for action in command._actions for flag in action.option_strings}
    if last.startswith("-"):
        return NO_FILES, sorted(flag for flag in flags if flag.startswith(last))
    option = flags.get(words[-1])
    if option is not None and option.nargs != 0:
        if option.choices:
            return NO_FILES, [str(value) for value in option.choices if str(value).startswith(last)]
        return (FILES if option.metavar == "FILE" else NO_FILES), []
    return NO_FILES, [value for value in _arguments(words, last) if value.startswith(last)]


def _arguments(words: Sequence[str], last: str) -> list[str]:
    """Return the values of the next argument.

    These are names of ModelDeployments, or revisions of the ModelDeployment that is named already.
    """
    with contextlib.suppress(SystemExit, KubeError, TimeoutError, Failed), contextlib.redirect_stderr(io.StringIO()):
        options = parsed([*words, _NEXT])
        if getattr(options, "name", None) == _NEXT:
            return _query(options, _names)
        if getattr(options, "revision", None) == _NEXT:
            history, _ = _query(options, lambda client, where: fetch_history(client, where, options.name))
            return _revisions(history, last)
    return []


def _revisions(history: History, last: str) -> list[str]:
    """Return the revisions, each with a description.

    A candidate is the number of a revision. Once the user has typed something, its name, its hash and its model version
    are candidates too.
    """
    values: list[str] = []
    for summary in history.revisions:
        forms = [str(summary.number), *([summary.name, summary.hash, f"v{summary.version}"] if last else ())]
        values += [f"{form}\t{summary.model}, {summary.role}" for form in forms if summary.recorded]
    return values


def _query(options: argparse.Namespace, query: Callable[[KubeClient, str], Awaitable[Result]]) -> Result:
    async def connected() -> Result:
        limits = ClientOptions(timeout=PATIENCE)
        async with KubeClient.connect(options.kubeconfig, options.context, limits) as client:
            return await asyncio.wait_for(query(client, cluster.namespace(options)), PATIENCE)

    return asyncio.run(connected())


async def _names(client: KubeClient, namespace: str) -> list[str]:
    return sorted(raw["metadata"]["name"] for raw in (await client.list(MODEL_DEPLOYMENT, namespace)).items)


if __name__ == "__main__":
    sys.exit(main())
