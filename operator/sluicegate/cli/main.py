"""Commands and their options. Each command's work is in a module of its own, imported only when it is called."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from sluicegate import __version__


def program() -> str:
    """How the user called it: `sluicegate`, or by kubectl as its plugin."""
    return "kubectl sluicegate" if Path(sys.argv[0]).name.startswith("kubectl-") else "sluicegate"


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
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
        description="Compares files with the cluster and changes nothing. Exit code 0: no change, 1: changes, 2: an error.",
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


def _cluster_options(command: argparse.ArgumentParser) -> None:
    """Kubectl's options that choose the cluster."""
    command.add_argument("-n", "--namespace", metavar="NAMESPACE", help="default: the namespace of the context")
    command.add_argument("--context", metavar="NAME", help="context of the kubeconfig; default: its current one")
    command.add_argument("--kubeconfig", metavar="FILE", help="default: KUBECONFIG, then ~/.kube/config")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = parser().parse_args(argv)
    if options.command != "run":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends the command, without a traceback
    match options.command:
        case "run":
            from sluicegate.cli.run import run

            return run(options)
        case "render":
            from sluicegate.cli.render import run as render

            return render(options.files, options.resolve, options.config)
        case "get":
            from sluicegate.cli.get import run as get

            return get(options)
        case "diff":
            from sluicegate.cli.diff import run as diff

            return diff(options)
        case _:
            from sluicegate.cli.checks import CHECKS
            from sluicegate.cli.validate import run as validate

            return validate(options.files, CHECKS)


if __name__ == "__main__":
    sys.exit(main())
