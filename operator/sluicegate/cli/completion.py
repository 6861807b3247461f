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

Answer = TypeVar("Answer")
FILES, NO_FILES = 0, 4
_NEXT = "\0"
"""Stands for the word that is being completed. A user cannot type it."""
PATIENCE = 2.0
"""Seconds to wait for a cluster: a user who presses TAB does not wait longer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the candidates for the last word, and the directive."""
    *words, last = (sys.argv[1:] if argv is None else argv) or [""]
    directive, found = candidates(words, last)
    for each in found:
        print(each)
    print(f":{directive}")
    return 0


def candidates(words: Sequence[str], last: str) -> tuple[int, list[str]]:
    """Return the directive, and the words that complete `last`."""
    commands = next(each for each in parser()._actions if each.choices)  # argparse has no public API for this
    choices: dict[str, Any] = dict(commands.choices or {})
    if not words:
        return NO_FILES, [each for each in choices if each.startswith(last)]
    command = choices.get(words[0])
    if command is None:
        return NO_FILES, []
    takes = {flag: action for action in command._actions for flag in action.option_strings}
    if last.startswith("-"):
        return NO_FILES, sorted(flag for flag in takes if flag.startswith(last))
    before = takes.get(words[-1])
    if before is not None and before.nargs != 0:
        if before.choices:
            return NO_FILES, [str(each) for each in before.choices if str(each).startswith(last)]
        return (FILES if before.metavar == "FILE" else NO_FILES), []
    return NO_FILES, [each for each in _arguments(words, last) if each.startswith(last)]


def _arguments(words: Sequence[str], last: str) -> list[str]:
    """Return the values of the next argument.

    These are names of ModelDeployments, or revisions of the ModelDeployment that is named already.
    """
    with contextlib.suppress(SystemExit, KubeError, TimeoutError, Failed), contextlib.redirect_stderr(io.StringIO()):
        options = parsed([*words, _NEXT])
        if getattr(options, "name", None) == _NEXT:
            return _asked(options, _listed)
        if getattr(options, "revision", None) == _NEXT:
            return _revisions(
                _asked(options, lambda client, where: fetch_history(client, where, options.name))[0], last
            )
    return []


def _revisions(known: History, last: str) -> list[str]:
    """Return the revisions, each with a description.

    A candidate is the number of a revision. Once the user has typed something, its name, its hash and its model version
    are candidates too.
    """
    found = []
    for entry in known.entries:
        forms = [str(entry.number), *([entry.name, entry.hash, f"v{entry.version}"] if last else ())]
        found += [f"{form}\t{entry.model}, {entry.role}" for form in forms if entry.recorded]
    return found


def _asked(options: argparse.Namespace, ask: Callable[[KubeClient, str], Awaitable[Answer]]) -> Answer:
    async def connected() -> Answer:
        limits = ClientOptions(timeout=PATIENCE)
        async with KubeClient.connect(options.kubeconfig, options.context, limits) as client:
            return await asyncio.wait_for(ask(client, cluster.namespace(options)), PATIENCE)

    return asyncio.run(connected())


async def _listed(client: KubeClient, namespace: str) -> list[str]:
    return sorted(raw["metadata"]["name"] for raw in (await client.list(MODEL_DEPLOYMENT, namespace)).items)


if __name__ == "__main__":
    sys.exit(main())
