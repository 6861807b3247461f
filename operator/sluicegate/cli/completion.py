"""`kubectl sluicegate <TAB>`: what kubectl's own completion asks its plugins for.

kubectl runs `kubectl_complete-sluicegate` with the words so far, the last of them unfinished, and reads candidates, one a
line, and then a directive; 4 means: no file names.
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
"""Stands for the word that is being completed; nobody types it."""
PATIENCE = 2.0
"""Seconds to wait for a cluster: who presses TAB waits no longer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the candidates for the last word."""
    *words, last = (sys.argv[1:] if argv is None else argv) or [""]
    directive, found = candidates(words, last)
    for each in found:
        print(each)
    print(f":{directive}")
    return 0


def candidates(words: Sequence[str], last: str) -> tuple[int, list[str]]:
    """The directive, and the words that may stand in place of `last`."""
    commands = next(each for each in parser()._actions if each.choices)  # argparse tells of itself in no public way
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
    """What may stand in the place of the next argument: names of ModelDeployments, or revisions of the one that is named."""
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
    """By number, and whatever else the word so far may become; behind each what it is."""
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
