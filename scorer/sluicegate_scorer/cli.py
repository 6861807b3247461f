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

from sluicegate_scorer import __version__, environment, termination
from sluicegate_scorer.errors import Reason, ScorerError, first_line

if TYPE_CHECKING:
    from sluicegate_scorer import requirements


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
        help="give up after this long without a new byte; a server never reached is given 15 s (default 60); after a "
        "run that failed, 300 s",
    )

    install = commands.add_parser(
        "install", help="install what a model asks for, and the server, for `serve --environment`"
    )
    install.add_argument("directory", metavar="DIR", type=Path, help="a directory with an MLmodel file")
    install.add_argument(
        "target", metavar="TARGET", type=Path, help="a directory for environments; several may share it"
    )
    install.add_argument("--link", type=Path, metavar="PATH", help="make a symbolic link to the environment")
    install.add_argument(
        "--timeout", type=_positive, default=300.0, metavar="SECONDS", help="give up after so long (default 300)"
    )

    serve = commands.add_parser("serve", help="serve the model in a directory over HTTP")
    serve.add_argument("directory", metavar="DIR", nargs="?", type=Path, help="a directory with an MLmodel file")
    serve.add_argument("-m", "--model-uri", metavar="PATH_OR_URI", help="instead of DIR: a directory, or what to fetch")
    serve.add_argument("--host", default="0.0.0.0", help="address to listen on (default 0.0.0.0)")
    serve.add_argument("-p", "--port", type=int, default=8080, help="port to listen on (default 8080)")
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
        "--timeout", type=_positive, metavar="SECONDS", help="answer 504 after this long (default 60, as MLflow does)"
    )
    serve.add_argument(
        "--max-body", type=_positive, default=100.0, metavar="MIB", help="answer 413 above (default 100)"
    )
    serve.add_argument("--queue", type=int, default=1024, metavar="N", help="waiting requests, then 429 (default 1024)")
    serve.add_argument(
        "--workers", type=int, default=0, metavar="N", help="threads for the model, at most (default CPUs + 4)"
    )
    serve.add_argument(
        "--batch", type=int, default=64, metavar="N", help="rows predicted at once; 1: none (default 64)"
    )
    serve.add_argument("--no-fast-path", action="store_true", help="answer every request with MLflow's own code")
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
        help="what to do where the model's requirements differ from what is installed: tell, refuse the model of which "
        "a package is missing, refuse any difference (default $SLUICEGATE_DEPENDENCIES, or missing)",
    )
    serve.add_argument(
        "--environment",
        type=Path,
        default=os.environ.get("SLUICEGATE_ENVIRONMENT") or None,
        metavar="DIR",
        help="run in an environment that `install` made (default $SLUICEGATE_ENVIRONMENT, or this one)",
    )
    serve.add_argument("--no-smoke-test", action="store_true", help="be ready before the model has answered once")
    serve.add_argument(
        "--payload-log", type=_share, default=0.0, metavar="SHARE", help="share of requests logged with their bodies"
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Every failure ends as one sentence on stderr and in the termination log.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    usual = _REASONS.get(options.command, Reason.SERVER_FAILED)
    _log_to_stderr()
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
        return _fail(f"sluicegate-scorer {options.command} failed: {first_line(error)}; please report this", usual)


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
    from sluicegate_scorer import requirements
    from sluicegate_scorer.serve import Settings, check, serve
    from sluicegate_scorer.server.settings import Fast, Limits, Logs, Policy, ServerSettings

    seconds = options.timeout or float(os.environ.get("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT") or 60)
    server = ServerSettings(
        limits=Limits(int(options.max_body * (1 << 20)), seconds, options.workers, options.queue),
        fast=Fast(not options.no_fast_path, options.batch),
        policy=Policy(options.model_error_status, options.stack_traces),
        logs=Logs(options.access_log, options.payload_log),
        smoke_test=not options.no_smoke_test,
    )
    settings = Settings(options.host, options.port, options.drain, options.grace, options.access_log, server)
    policy = _policy(options.dependencies)
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
            f"SLUICEGATE_DEPENDENCIES is {text!r}; set it to warn, missing or refuse, or remove it"
        ) from error


def _profile(options: argparse.Namespace) -> int:
    import mlflow.pyfunc
    import pandas as pd

    from sluicegate_scorer import profile

    if not (options.model_uri / "MLmodel").is_file():
        raise ScorerError(f"{options.model_uri} has no MLmodel file, so it is not an MLflow model")
    try:
        data = (pd.read_csv if options.data.suffix == ".csv" else pd.read_parquet)(options.data)
    except (OSError, ValueError) as error:
        raise ScorerError(f"cannot read {options.data}: {first_line(error)}") from error
    model = mlflow.pyfunc.load_model(str(options.model_uri))
    names = model.metadata.get_input_schema().input_names() if model.metadata.get_input_schema() else []
    missing = [name for name in names if name not in data.columns]
    if missing:
        raise ScorerError(f"{options.data} lacks the model's columns {', '.join(missing)}")
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
        raise ScorerError("name one model: sluicegate-scorer serve DIR, or serve -m PATH_OR_URI")
    if "://" not in str(named) and ":/" not in str(named):
        yield Path(named)
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


_REASONS = {"fetch": Reason.FETCH_FAILED, "install": Reason.INSTALL_FAILED}


def _fail(message: str, reason: Reason) -> int:
    sys.stderr.write(termination.write_failure(message, reason) + "\n")
    return 1


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("LOG_LEVEL", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )
    for chatty in ("google", "httpx", "httpcore", "botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("azure").setLevel(logging.ERROR)  # it logs each way to log in that it did not use


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
