"""The command line. Its commands and flags are what pod templates contain, so they only ever grow."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from sluicegate_scorer import __version__, termination
from sluicegate_scorer.errors import ScorerError, first_line, one_line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sluicegate-scorer",
        description="Fetches an MLflow model and serves it, inside a Sluicegate pod.",
    )
    parser.add_argument("--version", action="version", version=f"sluicegate-scorer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    fetch = commands.add_parser("fetch", help="download a model's artifacts to a directory")
    fetch.add_argument("uri", metavar="URI", help="mlflow-artifacts:/PATH or s3://BUCKET/PREFIX")
    fetch.add_argument("directory", metavar="DIR", type=Path, help="an empty directory, or one filled from this URI")
    fetch.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="give up after this long without a new byte; a server never reached is given 15 s (default 60)",
    )

    serve = commands.add_parser("serve", help="serve the model in a directory over HTTP")
    serve.add_argument("directory", metavar="DIR", type=Path, help="a directory with an MLmodel file")
    serve.add_argument("--host", default="0.0.0.0", help="address to listen on (default 0.0.0.0)")
    serve.add_argument("--port", type=int, default=8080, help="port to listen on (default 8080)")
    serve.add_argument(
        "--drain",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="go on accepting for this long after SIGTERM; 0 where a preStop hook waits (default 0)",
    )
    serve.add_argument(
        "--grace",
        type=float,
        default=25.0,
        metavar="SECONDS",
        help="then let requests in flight take this long before they are cut off (default 25)",
    )
    serve.add_argument("--access-log", action="store_true", help="log every request (default off)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; every failure ends as one sentence on stderr and in the termination log.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    _log_to_stderr()
    try:
        if options.command == "fetch":
            return _fetch(options)
        return _serve(options)
    except ScorerError as error:
        return _fail(str(error))
    except Exception as error:  # a bug of ours: still one line for the status, and the traceback for the log
        logging.getLogger("sluicegate_scorer").exception("unexpected failure")
        return _fail(f"sluicegate-scorer {options.command} failed: {first_line(error)}; please report this")


def _fetch(options: argparse.Namespace) -> int:
    from sluicegate_scorer.fetch import fetch

    result = fetch(options.uri, options.directory, options.timeout).as_json()
    termination.write(result)
    sys.stdout.write(result + "\n")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from sluicegate_scorer.serve import Settings, serve

    settings = Settings(options.host, options.port, options.drain, options.grace, options.access_log)
    return serve(options.directory, settings)


def _fail(message: str) -> int:
    sys.stderr.write(termination.write_failure(one_line(message)) + "\n")
    return 1


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("LOG_LEVEL", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )
    for chatty in ("httpx", "httpcore", "botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def entry() -> NoReturn:
    """The console script.

    It leaves by os._exit: Python would first join threads that still predict after the grace period
    was over, and a
    pod would then sit there until it is killed.
    """
    code = 1
    try:
        code = main()
    except SystemExit as leaving:  # argparse
        code = leaving.code if isinstance(leaving.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
