"""The commands and their options.

Each command has a module of its own, which is imported only when the command runs.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from sluicegate import __version__
from sluicegate.cli.output.terminal import guarded

CLUSTER_OPTIONS = (
    (("-n", "--namespace"), "NAMESPACE", "namespace; default: that of the context"),
    (("--context",), "NAME", "context of the kubeconfig; default: the current one"),
    (("--kubeconfig",), "FILE", "kubeconfig file; default: KUBECONFIG, then ~/.kube/config"),
)

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def program() -> str:
    """Return the command that the user typed: `sluicegate`, or the kubectl plugin."""
    return "kubectl sluicegate" if Path(sys.argv[0]).name.startswith("kubectl-") else "sluicegate"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    main = argparse.ArgumentParser(
        prog=program(), description="From a model registry to production traffic on Kubernetes."
    )
    main.add_argument("--version", action="version", version=f"sluicegate {__version__}")
    _cluster_options(main, prefix="main_")
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_run, _render, _validate, _get, _diff, _history, _rollback, _steer):
        add(commands)
    return main


def _run(commands: Commands) -> None:
    run = commands.add_parser(
        "run",
        help="run the operator",
        description="Run the operator. Each option can also be set by the environment variable SLUICEGATE_NAME.",
    )
    from sluicegate.cli.settings import add_options

    add_options(run)


def _render(commands: Commands) -> None:
    render = commands.add_parser(
        "render", help="print the child objects of ModelDeployments as YAML, without a cluster"
    )
    _files(render, "YAML file, or - for standard input")
    _resolve(render)
    render.add_argument("--config", metavar="FILE", help="the operator's settings file (registries, gateway, runtimes)")


def _validate(commands: Commands) -> None:
    validate = commands.add_parser(
        "validate", help="check ModelDeployments by the rules of the CRD and the operator, without a cluster"
    )
    _files(validate, "file, directory, or - for standard input")


def _get(commands: Commands) -> None:
    get = commands.add_parser(
        "get",
        help="show what ModelDeployments serve, and why they are not ready",
        description="Without NAME, show a table. With NAME, show its revisions, pods, weights and Events.",
    )
    get.add_argument("name", nargs="?", metavar="NAME", help="name of one ModelDeployment")
    get.add_argument("-A", "--all-namespaces", action="store_true", help="show all namespaces")
    get.add_argument("-o", "--output", choices=["wide", "json", "yaml", "name"], help="output format; default: text")
    get.add_argument("-w", "--watch", action="store_true", help="show changes until Ctrl-C")
    _cluster_options(get)
    get.set_defaults(prog=get.prog)


def _diff(commands: Commands) -> None:
    diff = commands.add_parser(
        "diff",
        help="show what applying ModelDeployments would change: revisions, pods, weights",
        description="Compare files with the cluster, and change nothing. "
        "Exit code 0: no change, 1: changes, 2: an error.",
    )
    _files(diff, "file, directory, or - for standard input")
    diff.add_argument("-o", "--output", choices=["yaml"], help="yaml: unified diffs of the manifests; default: text")
    _resolve(diff)
    diff.add_argument("--config", metavar="FILE", help="the operator's settings file; default: its ConfigMap")
    diff.add_argument(
        "--field-manager", metavar="NAME", help="field manager of the apply; default: that of the last one"
    )
    _cluster_options(diff)
    diff.set_defaults(prog=diff.prog)


def _files(command: argparse.ArgumentParser, description: str) -> None:
    command.add_argument(
        "-f", "--file", dest="files", action="append", required=True, metavar="FILE", help=f"{description}; repeatable"
    )


def _resolve(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--resolve",
        action="append",
        default=[],
        metavar="URI=VERSION",
        help="the version that the registry returns for a model URI; repeatable",
    )


def _history(commands: Commands) -> None:
    history = commands.add_parser(
        "history",
        help="list the revisions of a ModelDeployment, and which ones you can roll back to",
        description="List the revisions, newest first: model, role, weight, when it was created, when it lost its "
        "traffic, and whether it is pinned.",
    )
    history.add_argument("name", metavar="NAME", help="name of the ModelDeployment")
    history.add_argument("-o", "--output", choices=["json", "yaml"], help="output format; default: text")
    _cluster_options(history)
    history.set_defaults(prog=history.prog)


def _rollback(commands: Commands) -> None:
    rollback = commands.add_parser(
        "rollback",
        help="pin a previous revision, whatever the spec asks for",
        description="Set the annotation sluicegate.dev/pin. The spec stays unchanged; `unpin` follows it again.",
    )
    rollback.add_argument("name", metavar="NAME", help="name of the ModelDeployment")
    rollback.add_argument(
        "revision",
        nargs="?",
        metavar="REVISION",
        help="number, hash, NAME-HASH, or vN for version N of the model; default: the previous stable revision",
    )
    rollback.add_argument("--wait", action="store_true", help="wait until it is stable; exit code 1 if it fails")
    rollback.add_argument(
        "--timeout", metavar="DURATION", help="limit of --wait, such as 90s; default: progressDeadline and 1m"
    )
    _cluster_options(rollback)
    rollback.set_defaults(prog=rollback.prog)
    unpin = commands.add_parser(
        "unpin",
        help="remove the pin of `rollback`, and follow the spec again",
        description="Remove the annotation sluicegate.dev/pin, which `rollback` sets.",
    )
    unpin.add_argument("name", metavar="NAME", help="name of the ModelDeployment")
    _cluster_options(unpin)
    unpin.set_defaults(prog=unpin.prog)


def _steer(commands: Commands) -> None:
    """Add the commands that act on a rollout."""
    texts = {
        "promote": (
            "continue a rollout past its current step",
            "End the pause or the hold of the current step, without waiting for its analysis. "
            "This sets the annotation sluicegate.dev/promote.",
        ),
        "abort": (
            "return all requests to the stable revision",
            "Set the annotation sluicegate.dev/abort. The revision is not tried again until the model or the spec "
            "resolves to another one, or you run `retry`. A declared canary gets no requests.",
        ),
        "pause": (
            "hold a rollout at its current step",
            "Set the annotation sluicegate.dev/pause. The weight stays as it is, and a failed analysis still rolls "
            "the revision back.",
        ),
        "resume": ("continue a paused rollout", "Remove the annotation sluicegate.dev/pause."),
        "retry": (
            "try a revision again that failed, was rolled back or aborted",
            "Set the annotation sluicegate.dev/retry until the operator has processed it, and remove "
            "sluicegate.dev/abort. A rollout starts at its first step.",
        ),
    }
    for verb, (summary, description) in texts.items():
        command = commands.add_parser(verb, help=summary, description=description)
        command.add_argument("name", metavar="NAME", help="name of the ModelDeployment")
        if verb == "promote":
            command.add_argument(
                "--full",
                action="store_true",
                help="skip all remaining steps, and become stable once the pods can carry all requests",
            )
        _cluster_options(command)
        command.set_defaults(prog=command.prog)


def _cluster_options(command: argparse.ArgumentParser, prefix: str = "") -> None:
    """Add kubectl's options that choose the cluster.

    Args:
        command: The parser of a command, or the main one, because kubectl also takes them before the command.
        prefix: Begins the names of the attributes that hold the values.
    """
    for flags, metavar, text in CLUSTER_OPTIONS:
        command.add_argument(*flags, dest=f"{prefix}{flags[-1].removeprefix('--')}", metavar=metavar, help=text)


def _taken_from_main(command_line: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Move the options that come before the command to where the command expects them."""
    for flags, _, _ in CLUSTER_OPTIONS:
        field = flags[-1].removeprefix("--")
        value = getattr(options, f"main_{field}")
        delattr(options, f"main_{field}")
        if value is None:
            continue
        if not hasattr(options, "prog"):  # only commands that use the kubeconfig have it
            command_line.error(f"{flags[-1]} does not apply before {options.command}: put it after, if it is an option")
        if getattr(options, field) is None:
            setattr(options, field, value)


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line, and exit with an error message where it is invalid.

    Where an option comes before an optional argument (`rollback NAME -n shop 7`), argparse treats the argument as
    omitted. This function therefore assigns the remaining words to the arguments that have no value yet.
    """
    command_line = parser()
    options, rest = command_line.parse_known_args(argv)
    for field in ("name", "revision"):
        if rest and not rest[0].startswith("-") and getattr(options, field, "") is None:
            setattr(options, field, rest.pop(0))
    _taken_from_main(command_line, options)
    if rest:
        command_line.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parsed(argv)
    if options.command == "run":
        from sluicegate.cli.commands.run import run

        return run(options)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends the command without a traceback
    with guarded():
        return _command(options)


def _command(options: argparse.Namespace) -> int:
    match options.command:
        case "render":
            from sluicegate.cli.commands.render import run as render

            return render(options.files, options.resolve, options.config)
        case "get":
            from sluicegate.cli.commands.get import run as get

            return get(options)
        case "diff":
            from sluicegate.cli.commands.diff import run as diff

            return diff(options)
        case "history":
            from sluicegate.cli.commands.history import run as history

            return history(options)
        case "rollback":
            from sluicegate.cli.commands.rollback import rollback

            return rollback(options)
        case "unpin":
            from sluicegate.cli.commands.rollback import unpin

            return unpin(options)
        case "promote" | "abort" | "pause" | "resume":
            from sluicegate.cli.commands import rollout

            act: Callable[[argparse.Namespace], int] = getattr(rollout, options.command)
            return act(options)
        case "retry":
            from sluicegate.cli.commands.retry import run as retry

            return retry(options)
        case "validate":
            from sluicegate.cli.commands.validate import run as validate
            from sluicegate.cli.validation.rules import CHECKS

            return validate(options.files, CHECKS)
        case command:
            raise ValueError(f"no code runs the command {command}")


if __name__ == "__main__":
    sys.exit(main())
