"""The commands and their options.

Each command has a module of its own, which is imported only when the command runs.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sluicegate import __version__


def program() -> str:
    """Return the command that the user typed: `sluicegate`, or the kubectl plugin."""
    return "kubectl sluicegate" if Path(sys.argv[0]).name.startswith("kubectl-") else "sluicegate"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    main = argparse.ArgumentParser(
        prog=program(), description="From a model registry to production traffic on Kubernetes."
    )
    main.add_argument("--version", action="version", version=f"sluicegate {__version__}")
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run the operator",
        description="Run the operator. Every option can be set by SLUICEGATE_NAME in the environment too.",
    )
    from sluicegate.cli.settings import add_options

    add_options(run)
    render = commands.add_parser("render", help="print the children of ModelDeployments as YAML, without a cluster")
    render.add_argument(
        "-f",
        "--file",
        dest="files",
        action="append",
        required=True,
        metavar="FILE",
        help="YAML file, or - for standard input",
    )
    render.add_argument(
        "--resolve",
        action="append",
        default=[],
        metavar="URI=VERSION",
        help="what a registry would answer for a model URI",
    )
    render.add_argument("--config", metavar="FILE", help="the operator's settings file (registries, gateway, runtimes)")
    validate = commands.add_parser(
        "validate", help="check ModelDeployments against the CRD's rules and the operator's, without a cluster"
    )
    validate.add_argument(
        "-f",
        "--file",
        dest="files",
        action="append",
        required=True,
        metavar="FILE",
        help="YAML file, or - for standard input",
    )
    _get(commands)
    _diff(commands)
    _history(commands)
    _rollback(commands)
    _steer(commands)
    return main


def _get(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    get = commands.add_parser(
        "get",
        help="what ModelDeployments serve, and what they wait for",
        description="Without NAME a table; with NAME its revisions, pods, weights and events, and why it waits.",
    )
    get.add_argument("name", nargs="?", metavar="NAME", help="one ModelDeployment")
    get.add_argument("-A", "--all-namespaces", action="store_true", help="of every namespace")
    get.add_argument("-o", "--output", choices=["wide", "json", "yaml", "name"], help="default: for people")
    get.add_argument("-w", "--watch", action="store_true", help="go on showing what happens, until Ctrl-C")
    _cluster_options(get)
    get.set_defaults(prog=get.prog)


def _diff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    diff = commands.add_parser(
        "diff",
        help="what applying ModelDeployments would change: revisions, pods, weights",
        description="Compares files with the cluster and changes nothing. "
        "Exit code 0: no change, 1: changes, 2: an error.",
    )
    diff.add_argument(
        "-f", "--file", dest="files", action="append", required=True, metavar="FILE", help="file, directory, or -"
    )
    diff.add_argument("-o", "--output", choices=["yaml"], help="the manifests' differences; default: in words")
    diff.add_argument(
        "--resolve", action="append", default=[], metavar="URI=VERSION", help="what the registry would answer"
    )
    diff.add_argument("--config", metavar="FILE", help="the operator's settings; default: its ConfigMap")
    diff.add_argument("--field-manager", metavar="NAME", help="as whom you apply; default: as it was applied before")
    _cluster_options(diff)
    diff.set_defaults(prog=diff.prog)


def _history(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    history = commands.add_parser(
        "history",
        help="the revisions of a ModelDeployment, and which can be returned to",
        description="Newest first: what each serves, its role, when it was made, when the traffic left it, "
        "and whether it is pinned.",
    )
    history.add_argument("name", metavar="NAME", help="the ModelDeployment")
    history.add_argument("-o", "--output", choices=["json", "yaml"], help="default: for people")
    _cluster_options(history)
    history.set_defaults(prog=history.prog)


def _rollback(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    rollback = commands.add_parser(
        "rollback",
        help="hold a revision that served before, whatever the spec says",
        description="Sets the annotation sluicegate.dev/pin; spec stays as it is. `unpin` lets the spec decide again.",
    )
    rollback.add_argument("name", metavar="NAME", help="the ModelDeployment")
    rollback.add_argument(
        "revision",
        nargs="?",
        metavar="REVISION",
        help="its number, its hash, NAME-HASH, or vN for version N of the model; default: the one that served before",
    )
    rollback.add_argument("--wait", action="store_true", help="follow until it serves; exit code 1 if it does not")
    rollback.add_argument(
        "--timeout", metavar="DURATION", help="of --wait, as 90s; default: progressDeadline and a minute"
    )
    _cluster_options(rollback)
    rollback.set_defaults(prog=rollback.prog)
    unpin = commands.add_parser(
        "unpin",
        help="let the spec decide again what serves",
        description="Removes the annotation sluicegate.dev/pin, which `rollback` sets.",
    )
    unpin.add_argument("name", metavar="NAME", help="the ModelDeployment")
    _cluster_options(unpin)
    unpin.set_defaults(prog=unpin.prog)


def _steer(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that act on a rollout."""
    told = {
        "promote": (
            "go on past the step that a rollout is at",
            "Ends the pause or the hold of the current step, without waiting for its analysis, "
            "by the annotation sluicegate.dev/promote.",
        ),
        "abort": (
            "send all requests back to what serves",
            "Sets the annotation sluicegate.dev/abort: the revision is not tried again until the model or the spec "
            "asks for something else, or by `retry`. A declared canary gets no requests.",
        ),
        "pause": (
            "keep a rollout at its step",
            "Sets the annotation sluicegate.dev/pause: the share stays as it is, "
            "and an analysis that fails still takes it back.",
        ),
        "resume": ("let a paused rollout go on", "Removes the annotation sluicegate.dev/pause."),
        "retry": (
            "try a revision again that has failed, was rolled back or aborted",
            "Sets the annotation sluicegate.dev/retry until the operator has seen it, "
            "and removes sluicegate.dev/abort. "
            "What failed for good is not tried again by itself; a rollout begins at its first step.",
        ),
    }
    for verb, (help_, description) in told.items():
        command = commands.add_parser(verb, help=help_, description=description)
        command.add_argument("name", metavar="NAME", help="the ModelDeployment")
        if verb == "promote":
            command.add_argument(
                "--full",
                action="store_true",
                help="skip all steps that are left, and take over as soon as the pods can carry it",
            )
        _cluster_options(command)
        command.set_defaults(prog=command.prog)


def _cluster_options(command: argparse.ArgumentParser) -> None:
    """Add kubectl's options that choose the cluster."""
    command.add_argument("-n", "--namespace", metavar="NAMESPACE", help="default: the namespace of the context")
    command.add_argument("--context", metavar="NAME", help="context of the kubeconfig; default: its current one")
    command.add_argument("--kubeconfig", metavar="FILE", help="default: KUBECONFIG, then ~/.kube/config")


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line, and exit with an error message where it is invalid.

    Where an option comes before an optional argument (`rollback NAME -n shop 7`), argparse treats the argument as
    omitted. This function therefore assigns the remaining words to the arguments that have no value yet.
    """
    whole = parser()
    options, rest = whole.parse_known_args(argv)
    for field in ("name", "revision"):
        if rest and not rest[0].startswith("-") and getattr(options, field, "") is None:
            setattr(options, field, rest.pop(0))
    if rest:
        whole.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parsed(argv)
    if options.command != "run":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends the command without a traceback
    match options.command:
        case "run":
            from sluicegate.cli.commands.run import run

            return run(options)
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

            work: Callable[[argparse.Namespace], int] = getattr(rollout, options.command)
            return work(options)
        case "retry":
            from sluicegate.cli.commands.retry import run as retry

            return retry(options)
        case _:
            from sluicegate.cli.commands.validate import run as validate
            from sluicegate.cli.validation.rules import CHECKS

            return validate(options.files, CHECKS)


if __name__ == "__main__":
    sys.exit(main())
