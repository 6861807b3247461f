"""Commands and their options. Each command's work is in a module of its own, imported only when it is called."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from sluicegate import __version__


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    main = argparse.ArgumentParser(
        prog="sluicegate", description="From a model registry to production traffic on Kubernetes."
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
    return main


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
        case _:
            from sluicegate.cli.checks import CHECKS
            from sluicegate.cli.validate import run as validate

            return validate(options.files, CHECKS)


if __name__ == "__main__":
    sys.exit(main())
