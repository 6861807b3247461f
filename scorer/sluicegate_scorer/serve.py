"""Runs the scoring server in this process, and stops it without dropping a request."""

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

from sluicegate_scorer.errors import ScorerError, first_line
from sluicegate_scorer.server import cpus, interpreter
from sluicegate_scorer.server.http1 import connection
from sluicegate_scorer.server.settings import ServerSettings

if TYPE_CHECKING:  # it imports MLflow, which a process that only prints its help can do without
    from sluicegate_scorer.server.app import Application

log = logging.getLogger("sluicegate_scorer.serve")

KEEP_ALIVE = 3900
"""Seconds for which an idle connection is kept. A gateway pools connections, and loses a request that it sends while the
server closes one. The default of Envoy is the longest of the usual gateways: one hour."""

_WRITABLE_CACHES = {
    "HOME": "/tmp",
    "MPLCONFIGDIR": "/tmp/matplotlib",
    "XDG_CACHE_HOME": "/tmp/cache",
    "HF_HOME": "/tmp/huggingface",
    "NUMBA_CACHE_DIR": "/tmp/numba",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True)
class Settings:
    """How to serve: see the command's flags."""

    host: str
    port: int
    drain: float
    grace: float
    access_log: bool = False
    server: ServerSettings = field(default_factory=ServerSettings)


class Server(uvicorn.Server):
    """uvicorn that keeps accepting for a while after SIGTERM, and exits with 0 when it then stopped in
    order.
    """

    def __init__(self, config: uvicorn.Config, app: "Application", drain: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain = drain

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes the place of uvicorn's, which raises the signal again at the end: a clean stop would
        look killed.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._leave)
        yield

    def _terminate(self) -> None:
        if self._app.draining:
            return
        self._app.draining = True
        log.info("SIGTERM: still answering for %g s, then finishing what is in flight", self._drain)
        if self._drain > 0:
            asyncio.get_running_loop().call_later(self._drain, self._leave)
        else:
            self._leave()

    def _leave(self) -> None:
        self._app.draining = True
        self.should_exit = True


def serve(directory: Path, settings: Settings) -> int:
    """Loads the model and serves it until SIGTERM.

    Args:
        directory: where the model is.
        settings: how to serve.

    Returns:
        The exit code: 0 after an orderly stop.

    Raises:
        ScorerError: where the model cannot be loaded or the port cannot be had.
    """
    # As process 1 of a container an unhandled SIGTERM is ignored: a model that loads for minutes would
    # not be stoppable.
    signal.signal(signal.SIGTERM, _stop_loading)
    _prepare_environment()
    interpreter.give_way()
    app = _load(directory, settings.server)
    server = Server(configure(app, settings), app, settings.drain)
    import uvloop

    # Not asyncio.run: it waits minutes for threads that still predict when the grace period is over.
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(server.serve())
    except SystemExit as error:  # uvicorn's way to say that it cannot listen; it has logged why
        raise ScorerError(
            f"cannot listen on {settings.host}:{settings.port}; another process of this pod may use the port"
        ) from error
    return 0


def configure(app: "Application", settings: Settings) -> uvicorn.Config:
    """Describe to uvicorn how to serve an application."""
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


def _prepare_environment() -> None:
    """Everything that libraries write at import or load goes to /tmp: the root file system may be
    read-only.
    """
    if not os.access(os.environ.get("HOME", "/"), os.W_OK):
        os.environ["HOME"] = "/tmp"
    for name, value in _WRITABLE_CACHES.items():
        os.environ.setdefault(name, value)


def check(directory: Path) -> None:
    """Refuses a directory that is no MLflow model.

    Raises:
        ScorerError: with what is missing.
    """
    if not directory.is_dir():
        raise ScorerError(
            f"cannot load the model: the directory {directory} does not exist; check the volume or the path"
        )
    if not (directory / "MLmodel").is_file():
        raise ScorerError(
            f"cannot load the model: {directory} has no MLmodel file, so it is not an MLflow model; "
            "check that the URI names the model's own folder"
        )


def _load(directory: Path, settings: ServerSettings) -> "Application":
    """What a model may do at load is anything, so anything is reported the same way."""
    began = time.monotonic()
    settings = _fit(settings)
    log.info("loading %s", directory)
    try:
        with interpreter.importing():
            from mlflow.pyfunc import scoring_server
        with interpreter.loading():
            model = scoring_server.load_model_with_mlflow_config(str(directory))  # type: ignore[no-untyped-call]
    except (Exception, SystemExit) as error:
        log.error("the model did not load", exc_info=error)
        advice = (
            "run the image that has what the model's requirements.txt names"
            if _lacks_package(error)
            else ("try mlflow.pyfunc.load_model on it in the same image")
        )
        sys.stderr.flush()
        raise ScorerError(f"cannot load the model in {directory}: {first_line(error, 800)}; {advice}") from error
    log.info("loaded %s", directory)
    from sluicegate_scorer.server.loading import build

    with interpreter.loading():
        return build(directory, model, settings, began)


def _fit(settings: ServerSettings) -> ServerSettings:
    """Fills in what depends on the container: threads by its CPUs, names by its environment."""
    count = cpus.available()
    cpus.limit_threads(count)
    limits = settings.limits
    # As many as MLflow's server has, counted by this container's CPUs: models may also wait for others.
    workers = limits.workers or min(32, count + 4)
    log.info("%d CPUs, %d threads for the model", count, workers)
    return dataclasses.replace(
        settings,
        limits=dataclasses.replace(limits, workers=workers, cpus=count),
        name=os.environ.get("SLUICEGATE_MODEL_NAME") or settings.name,
        version=os.environ.get("SLUICEGATE_MODEL_VERSION") or settings.version,
        run_id=os.environ.get("SLUICEGATE_MODEL_RUN_ID") or settings.run_id,
        pod_uid=os.environ.get("SLUICEGATE_POD_UID") or settings.pod_uid,
    )


def _lacks_package(error: BaseException) -> bool:
    return isinstance(error, ImportError) or isinstance(error.__cause__, ImportError)


def _stop_loading(_signal: int, _frame: FrameType | None) -> None:
    os._exit(128 + signal.SIGTERM)
