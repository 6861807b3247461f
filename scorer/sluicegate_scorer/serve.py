"""The scoring server process, which stops without dropping a request."""

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from sluicegate_scorer import requirements
from sluicegate_scorer.errors import Reason, ScorerError, first_line
from sluicegate_scorer.logs import enable_loggers
from sluicegate_scorer.server import cpus, interpreter
from sluicegate_scorer.server.http1 import connection
from sluicegate_scorer.server.settings import ServerSettings

if TYPE_CHECKING:  # app.py imports MLflow, which a process that only prints its help does not need
    from sluicegate_scorer.server.app import Application

log = logging.getLogger("sluicegate_scorer.serve")

KEEP_ALIVE = 3900
"""Seconds for which the server keeps an idle connection: one hour.

A gateway pools connections. It loses a request that it sends while the server closes the connection. The default of
Envoy, one hour, is the longest of the common gateways.
"""


@dataclass(frozen=True)
class Settings:
    """How to serve. The fields correspond to flags of the command."""

    host: str | None
    """The address to listen on. None means all addresses, of IPv4 and of IPv6."""
    port: int
    drain: float
    grace: float
    access_log: bool = False
    server: ServerSettings = field(default_factory=ServerSettings)


class Server(uvicorn.Server):
    """A uvicorn server that keeps accepting connections for a while after SIGTERM.

    It exits with code 0 after an orderly stop.
    """

    def __init__(self, config: uvicorn.Config, app: "Application", drain: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain = drain

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install the signal handlers in place of those of uvicorn.

        uvicorn raises the signal again at the end. A clean stop would then look as if the process had been killed.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._leave)
        yield

    def _terminate(self) -> None:
        if self._app.draining:
            return
        self._app.draining = True
        log.info("SIGTERM: accepting requests for %gs, then waiting for requests in progress", self._drain)
        if self._drain > 0:
            asyncio.get_running_loop().call_later(self._drain, self._leave)
        else:
            self._leave()

    def _leave(self) -> None:
        self._app.draining = True
        self.should_exit = True


def serve(directory: Path, settings: Settings) -> int:
    """Load the model and serve it until SIGTERM.

    Args:
        directory: the directory that holds the model.
        settings: how to serve.

    Returns:
        The exit code: 0 after an orderly stop.

    Raises:
        ScorerError: if the model cannot be loaded, or the server cannot listen on the port.
    """
    # Process 1 of a container ignores SIGTERM if it has no handler for it. A model that takes minutes to load could not
    # be stopped.
    signal.signal(signal.SIGTERM, _stop_loading)
    interpreter.give_way()
    import uvloop

    # Not asyncio.run: it waits for minutes for threads that still predict after the grace period.
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)  # before the model is loaded, because its code may keep the loop
    try:
        app = _load(directory, settings.server, loop)
    except BaseException:
        loop.close()
        asyncio.set_event_loop(None)
        raise
    server = Server(configure(app, settings), app, settings.drain)
    try:
        loop.run_until_complete(server.serve())
    except SystemExit as error:  # uvicorn exits if it cannot listen; it has logged the reason
        address = f"{settings.host}:{settings.port}" if settings.host else f"port {settings.port}"
        raise ScorerError(
            f"cannot listen on {address}. Check that no other container of the pod uses the port"
        ) from error
    return 0


def configure(app: "Application", settings: Settings) -> uvicorn.Config:
    """Return the uvicorn configuration that serves an application."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=connection(settings.server.limits.seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
        backlog=2048,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.grace)),
    )


def import_from_working_directory() -> None:
    """Let the model's code import modules of the working directory.

    MLflow's server does, because uvicorn puts the directory first. `python -P` and PYTHONSAFEPATH turn it off.
    """
    if not sys.flags.safe_path and not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, str(Path.cwd()))


def check(directory: Path) -> None:
    """Refuse a directory that does not hold an MLflow model.

    Raises:
        ScorerError: if the directory or its MLmodel file is missing. The message names which one.
    """
    if not directory.is_dir():
        raise ScorerError(
            f"cannot load the model: the directory {directory} does not exist. Check the volume and the path",
            Reason.LOAD_FAILED,
        )
    if not (directory / "MLmodel").is_file():
        raise ScorerError(
            f"cannot load the model: {directory} has no MLmodel file. "
            "Check that the URI is that of an MLflow model's folder",
            Reason.LOAD_FAILED,
        )


def _load(directory: Path, settings: ServerSettings, loop: asyncio.AbstractEventLoop) -> "Application":
    """Load the model and build its application.

    The model loads in the main thread, where its code may set signal handlers and the loop does not run yet. The loop
    runs during the smoke test, as it does during requests.

    Model code may raise any exception while it loads, so all of them are reported in the same way.
    """
    began = time.monotonic()
    settings = _fit(settings)
    log.info("loading %s", directory)
    try:
        with interpreter.importing():
            from mlflow.pyfunc import scoring_server
        with interpreter.loading():
            model = scoring_server.load_model_with_mlflow_config(str(directory))  # type: ignore[no-untyped-call]
    except (Exception, SystemExit) as error:
        enable_loggers()
        log.error("cannot load the model", exc_info=error)
        sys.stderr.flush()
        raise ScorerError(
            f"cannot load the model in {directory}: {first_line(error, 600)}. {_advice(error, directory)}",
            Reason.LOAD_FAILED,
        ) from error
    enable_loggers()
    asyncio.set_event_loop(loop)  # asyncio.run in the model's code removes it
    log.info("loaded %s", directory)
    from sluicegate_scorer.server.loading import build

    with interpreter.loading():
        return loop.run_until_complete(asyncio.to_thread(build, directory, model, settings, began))


def _fit(settings: ServerSettings) -> ServerSettings:
    """Fill in the settings that depend on the container.

    The thread counts come from the CPUs of the container, and the names from its environment variables.
    """
    count = cpus.available()
    cpus.limit_threads(count)
    limits = settings.limits
    # The same number as in MLflow's server, but with the CPUs of this container. Models may also wait for other
    # services.
    workers = limits.workers or min(32, count + 4)
    log.info("using %d CPUs and at most %d threads for the model", count, workers)
    return dataclasses.replace(
        settings,
        limits=dataclasses.replace(limits, workers=workers, cpus=count),
        name=os.environ.get("SLUICEGATE_MODEL_NAME") or settings.name,
        version=os.environ.get("SLUICEGATE_MODEL_VERSION") or settings.version,
        run_id=os.environ.get("SLUICEGATE_MODEL_RUN_ID") or settings.run_id,
        pod_uid=os.environ.get("SLUICEGATE_POD_UID") or settings.pod_uid,
    )


def _advice(error: BaseException, directory: Path) -> str:
    """Return how to repair a model that does not load."""
    explanation = requirements.explanation(directory, error)
    known = f"{explanation}. " if explanation is not None else ""
    if _lacks_package(error):
        return f"{known}Set spec.runtime.image to an image that has the packages of the model's requirements.txt"
    if _lacks_file(error, directory):
        return "Check whether the file was deleted from the artifact store, and log the model again if it was"
    if known:
        return f"{known}Set spec.runtime.image to an image with these versions"
    return "Run mlflow.pyfunc.load_model on the model in the same image"


def _lacks_file(error: BaseException, directory: Path) -> bool:
    """Tell whether a file of the model itself is missing. Not every library raises a FileNotFoundError for it."""
    for cause in (error, error.__cause__, error.__context__):
        text = str(cause)
        if str(directory) in text and ("No such file" in text or "does not exist" in text):
            return True
    return False


def _lacks_package(error: BaseException) -> bool:
    return isinstance(error, ImportError) or isinstance(error.__cause__, ImportError)


def _stop_loading(_signal: int, _frame: FrameType | None) -> None:
    os._exit(128 + signal.SIGTERM)
