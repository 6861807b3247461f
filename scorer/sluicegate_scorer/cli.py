"""The command line.

Pod templates contain its commands and flags. New ones may be added, but existing ones must keep working.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote, urlsplit

from sluicegate_scorer import __version__, environment, logs, termination
from sluicegate_scorer.errors import Reason, ScorerError, first_line, redact

if TYPE_CHECKING:
    from sluicegate_scorer import requirements

GRACE_MARGIN = 2.0
"""Seconds by which the server waits longer for requests in progress than the time limit of a request."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sluicegate-scorer",
        description="Fetches an MLflow model and serves it, inside a Sluicegate pod.",
    )
    parser.add_argument("--version", action="version", version=f"sluicegate-scorer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    fetch = commands.add_parser("fetch", help="download a model's artifacts to a directory")
    fetch.add_argument(
        "uri", metavar="URI", help="mlflow-artifacts:/PATH, s3://, gs://, wasbs://, abfss://, az:// or https://"
    )
    fetch.add_argument("directory", metavar="DIR", type=Path, help="an empty directory, or one filled from this URI")
    fetch.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="give up after this long without a new byte (default 60); a server that never responds gets at most 15 s, "
        "and a run after one that failed at least 300 s",
    )

    install = commands.add_parser(
        "install", help="install a model's requirements and the server, for `serve --environment`"
    )
    install.add_argument("directory", metavar="DIR", type=Path, help="a directory with an MLmodel file")
    install.add_argument(
        "target", metavar="TARGET", type=Path, help="a directory for environments; several may share it"
    )
    install.add_argument("--link", type=Path, metavar="PATH", help="make a symbolic link to the environment")
    install.add_argument(
        "--timeout", type=_positive, default=300.0, metavar="SECONDS", help="give up after this long (default 300)"
    )

    serve = commands.add_parser("serve", help="serve the model in a directory over HTTP")
    serve.add_argument("directory", metavar="DIR", nargs="?", type=Path, help="a directory with an MLmodel file")
    serve.add_argument(
        "-m", "--model-uri", metavar="PATH_OR_URI", help="instead of DIR: a directory, or a URI to fetch"
    )
    serve.add_argument("--host", help="address to listen on (default: all addresses, IPv4 and IPv6)")
    serve.add_argument("-p", "--port", type=int, default=8080, help="port to listen on (default 8080)")
    serve.add_argument(
        "--drain",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="accept requests for this long after SIGTERM (default 0, for pods with a preStop hook)",
    )
    serve.add_argument(
        "--grace",
        type=float,
        metavar="SECONDS",
        help=f"then wait this long for requests in progress (default {GRACE_MARGIN:g} more than --timeout)",
    )
    serve.add_argument("--access-log", action="store_true", help="log every request as a JSON line (default off)")
    _serving_flags(serve)

    profile = commands.add_parser("profile", help="describe a data set and the model's predictions for it")
    profile.add_argument("data", metavar="DATA", type=Path, help="a .csv or .parquet file with the model's features")
    profile.add_argument(
        "-m", "--model-uri", metavar="DIR", type=Path, required=True, help="a directory with an MLmodel file"
    )
    profile.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="where to write (default sluicegate_profile.json in the model)",
    )
    return parser


def _serving_flags(serve: argparse.ArgumentParser) -> None:
    serve.add_argument(
        "--timeout",
        type=_positive,
        metavar="SECONDS",
        help="respond with 504 after this long (default 60, as in MLflow)",
    )
    serve.add_argument(
        "--stream-idle",
        type=_positive,
        default=os.environ.get("SLUICEGATE_STREAM_IDLE") or None,
        metavar="SECONDS",
        help="end a stream if the model sends no event for this long (default $SLUICEGATE_STREAM_IDLE, or --timeout)",
    )
    serve.add_argument(
        "--max-body",
        type=_positive,
        default=100.0,
        metavar="MIB",
        help="respond with 413 to larger bodies (default 100)",
    )
    serve.add_argument(
        "--queue", type=int, default=1024, metavar="N", help="respond with 429 if more requests wait (default 1024)"
    )
    serve.add_argument(
        "--workers",
        type=int,
        default=os.environ.get("SLUICEGATE_WORKERS") or 0,
        metavar="N",
        help="maximum number of threads for the model (default $SLUICEGATE_WORKERS, or CPUs + 4)",
    )
    serve.add_argument(
        "--batch",
        type=int,
        default=64,
        metavar="N",
        help="maximum number of rows per prediction; 1 turns batches off (default 64)",
    )
    serve.add_argument("--no-fast-path", action="store_true", help="use MLflow's own code for every request")
    serve.add_argument(
        "--model-error-status",
        type=int,
        choices=[400, 500],
        default=500,
        help="HTTP status of an exception in the model; MLflow's own server says 400 (default 500)",
    )
    serve.add_argument("--stack-traces", action="store_true", help="send stack traces to clients, as MLflow does")
    serve.add_argument(
        "--dependencies",
        choices=["warn", "missing", "refuse"],
        default=os.environ.get("SLUICEGATE_DEPENDENCIES") or "missing",
        help="what to do if the installed packages differ from the model's requirements: log the differences, refuse "
        "the model if a package is missing, or refuse any difference (default $SLUICEGATE_DEPENDENCIES, or missing)",
    )
    serve.add_argument(
        "--environment",
        type=Path,
        default=os.environ.get("SLUICEGATE_ENVIRONMENT") or None,
        metavar="DIR",
        help="run in an environment that `install` made (default $SLUICEGATE_ENVIRONMENT, or the current one)",
    )
    serve.add_argument("--no-smoke-test", action="store_true", help="become ready without a test prediction")
    serve.add_argument(
        "--payload-log",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="share of requests to log with their bodies, from 0 to 1",
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be greater than 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be between 0 and 1")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Every failure ends as one line on stderr and in the termination log.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    usual = _REASONS.get(options.command, Reason.SERVER_FAILED)
    logs.log_to_stderr()
    if options.command in {"fetch", "install"}:
        # Process 1 of a container ignores SIGTERM if it has no handler for it. A pod that is deleted would wait for the
        # command to end.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        if options.command == "fetch":
            return _fetch(options)
        if options.command == "install":
            return _install(options)
        if options.command == "profile":
            return _profile(options)
        environment.enter(options.environment, sys.argv[1:] if arguments is None else arguments)
        return _serve(options)
    except ScorerError as error:
        return _fail(str(error), error.reason or usual)
    except Exception as error:  # a bug in this program: one line for the status, and the traceback for the log
        logging.getLogger("sluicegate_scorer").exception("unexpected failure")
        return _fail(
            f"sluicegate-scorer {options.command} failed: {first_line(error)}. Report this bug with the log", usual
        )


def _fetch(options: argparse.Namespace) -> int:
    from sluicegate_scorer.fetch import fetch

    result = fetch(options.uri, options.directory, options.timeout).as_json()
    termination.write(result)
    sys.stdout.write(result + "\n")
    return 0


def _install(options: argparse.Namespace) -> int:
    from sluicegate_scorer import install

    done = install.install(options.directory, options.target, options.timeout)
    if options.link is not None:
        install.link(options.link, done)
    termination.write(done.as_json())
    sys.stdout.write(done.as_json() + "\n")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from sluicegate_scorer import caches, requirements
    from sluicegate_scorer.serve import Settings, check, import_from_working_directory, serve
    from sluicegate_scorer.server.settings import Fast, Limits, Logs, Policy, ServerSettings

    seconds = options.timeout or float(os.environ.get("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT") or 60)
    server = ServerSettings(
        limits=Limits(
            int(options.max_body * (1 << 20)),
            seconds,
            options.workers,
            options.queue,
            stream_idle=options.stream_idle or 0.0,
        ),
        fast=Fast(not options.no_fast_path, options.batch),
        policy=Policy(options.model_error_status, options.stack_traces),
        logs=Logs(options.access_log, options.payload_log),
        smoke_test=not options.no_smoke_test,
    )
    grace = seconds + GRACE_MARGIN if options.grace is None else options.grace
    settings = Settings(options.host, options.port, options.drain, grace, options.access_log, server)
    policy = _policy(options.dependencies)
    import_from_working_directory()
    caches.prepare(os.environ)  # before MLflow is imported, which may fetch the model
    with _model(options) as directory:
        check(directory)
        requirements.check(directory, policy, installed=options.environment is not None)
        return serve(directory, settings)


def _policy(text: str) -> "requirements.Check":
    """Return the policy for differences from the model's requirements.

    argparse does not compare a default with its choices, and this default may come from the environment.
    """
    from sluicegate_scorer import requirements

    try:
        return requirements.Check(text)
    except ValueError as error:
        raise ScorerError(
            f"SLUICEGATE_DEPENDENCIES is {text!r}. Set it to warn, missing or refuse, or remove it"
        ) from error


def _profile(options: argparse.Namespace) -> int:
    import mlflow.pyfunc
    import pandas as pd

    from sluicegate_scorer import profile

    if not (options.model_uri / "MLmodel").is_file():
        raise ScorerError(f"--model-uri: {options.model_uri} has no MLmodel file. Use the folder of an MLflow model")
    try:
        data = (pd.read_csv if options.data.suffix == ".csv" else pd.read_parquet)(options.data)
    except (OSError, ValueError) as error:
        raise ScorerError(f"cannot read {options.data}: {first_line(error)}. Use a .csv or .parquet file") from error
    model = mlflow.pyfunc.load_model(str(options.model_uri))
    names = model.metadata.get_input_schema().input_names() if model.metadata.get_input_schema() else []
    missing = [name for name in names if name not in data.columns]
    if missing:
        raise ScorerError(f"{options.data} does not have the model's columns {', '.join(missing)}. Add them")
    features = data[names] if names else data
    output = options.output or options.model_uri / profile.FILE
    profile.write(profile.make_profile(features, model.predict(features)), output)
    sys.stdout.write(f"{output}: {len(features)} rows, {len(features.columns)} features\n")
    return 0


@contextlib.contextmanager
def _model(options: argparse.Namespace) -> Iterator[Path]:
    """Yield the folder to serve.

    A model that is named by a URI is fetched to a temporary folder first.
    """
    named = options.model_uri or options.directory
    if named is None or (options.model_uri and options.directory):
        raise ScorerError("serve needs exactly one model. Use sluicegate-scorer serve DIR, or serve -m PATH_OR_URI")
    local = _local_path(str(named))
    if local is not None:
        yield local
        return
    with tempfile.TemporaryDirectory(prefix="sluicegate-model-") as folder:
        uri = str(named)
        if uri.startswith(("models:/", "runs:/")):
            from sluicegate_scorer.server import cpus

            cpus.limit_threads(cpus.available())  # must come before MLflow imports numpy
            from mlflow.artifacts import download_artifacts

            yield Path(download_artifacts(artifact_uri=uri, dst_path=folder))
        else:
            from sluicegate_scorer.fetch import fetch

            fetch(uri, Path(folder), 60.0)
            yield Path(folder)


def _local_path(named: str) -> Path | None:
    """Return the folder that a path or a file: URI names, or None for any other URI.

    As in MLflow, a file: URI is percent-encoded, and its host is empty or `localhost`.
    """
    parts = urlsplit(named)
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"}:
            raise ScorerError(f"{redact(named)} names the host {parts.hostname}. Use file:///PATH, with three slashes")
        return Path(unquote(parts.path))
    return None if ":/" in named else Path(named)


_REASONS = {"fetch": Reason.FETCH_FAILED, "install": Reason.INSTALL_FAILED}


def _fail(message: str, reason: Reason) -> int:
    sys.stderr.write(termination.write_failure(message, reason) + "\n")
    return 1


def entry() -> NoReturn:
    """Run the console script.

    The process exits by os._exit. Otherwise Python would first join threads that still predict after the grace period,
    and the pod would keep running until the kubelet kills it.
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
