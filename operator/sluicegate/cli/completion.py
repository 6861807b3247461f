"""`kubectl sluicegate <TAB>`: what kubectl's own completion asks its plugins for.

kubectl runs `kubectl_complete-sluicegate` with the words so far, the last of them unfinished, and reads candidates, one a
line, and then a directive; 4 means: no file names.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from sluicegate.cli import cluster
from sluicegate.cli.main import parser
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import KubeError
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.kube.transport import ClientOptions

FILES, NO_FILES = 0, 4
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
    return NO_FILES, _names(words, last) if words[0] == "get" else []


def _names(words: Sequence[str], last: str) -> list[str]:
    """ModelDeployments of the namespace that the words so far name."""
    with contextlib.suppress(SystemExit, KubeError, TimeoutError):
        options = parser().parse_args(words)
        if options.name is None:
            found = asyncio.run(
                asyncio.wait_for(_listed(options.kubeconfig, options.context, cluster.namespace(options)), PATIENCE)
            )
            return [each for each in found if each.startswith(last)]
    return []


async def _listed(kubeconfig: str | None, context: str | None, namespace: str) -> list[str]:
    async with KubeClient.connect(kubeconfig, context, ClientOptions(timeout=PATIENCE)) as client:
        return sorted(raw["metadata"]["name"] for raw in (await client.list(MODEL_DEPLOYMENT, namespace)).items)


if __name__ == "__main__":
    sys.exit(main())
