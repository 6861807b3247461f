"""From a model folder to an application that has responded once."""

import json
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sluicegate_scorer import requirements
from sluicegate_scorer.errors import ScorerError, first_line, one_line
from sluicegate_scorer.server import device, examples, mlflow_traces
from sluicegate_scorer.server.app import Application, Shared
from sluicegate_scorer.server.asgi import Response
from sluicegate_scorer.server.batching import Batcher
from sluicegate_scorer.server.csv_frames import csv_frames
from sluicegate_scorer.server.drift import load as load_drift
from sluicegate_scorer.server.fast import frame_verify
from sluicegate_scorer.server.fast.frame_path import FramePath
from sluicegate_scorer.server.fast.path import FastPath
from sluicegate_scorer.server.fast.shape import NotFast
from sluicegate_scorer.server.fast.verify import verify
from sluicegate_scorer.server.frames import frames
from sluicegate_scorer.server.general import General
from sluicegate_scorer.server.metrics import Metrics
from sluicegate_scorer.server.settings import ServerSettings
from sluicegate_scorer.server.workers import Workers

log = logging.getLogger("sluicegate_scorer.serve")

_MADE = {"double": 0.0, "float": 0.0, "long": 0, "integer": 0, "boolean": False, "string": "", "datetime": "2024-01-01"}


def build(directory: Path, model: Any, settings: ServerSettings, began: float) -> Application:
    """Make the application of a loaded model, after the smoke test if it is enabled.

    Call it in the context in which the model was loaded. The server's own calls of the model run where requests run:
    in the thread pool, where no event loop runs and signal handlers cannot be set. Otherwise a model that depends on
    its thread, such as one with a connection to SQLite, would fail only after the server is ready.

    Args:
        directory: the model's folder.
        model: the loaded pyfunc model.
        settings: how to serve.
        began: when loading began, by the monotonic clock.

    Raises:
        ScorerError: if the smoke test fails.
    """
    workers = Workers(settings.limits)
    return workers.submit(partial(_build, directory, model, settings, began, workers)).result()


def _build(directory: Path, model: Any, settings: ServerSettings, began: float, workers: Workers) -> Application:
    from mlflow.pyfunc import scoring_server

    # init also sets the variable that tells models that they are being served, so it comes before the first prediction.
    other = scoring_server.init(model)
    general = General(model, settings.policy)
    example = examples.example(directory, model.metadata)
    mlflow_traces.limit()
    if settings.smoke_test:
        mlflow_traces.untraced(partial(_smoke_test, general, example, directory))
    metrics = Metrics()
    shared = Shared(workers, metrics)
    batcher = mlflow_traces.untraced(partial(_batcher, general, example, settings, shared))
    path = batcher.path if batcher is not None else None
    if isinstance(path, FastPath) and not path.several and general.frames is None:
        general.frames = frames(model)
    if settings.fast.enabled:
        general.csv = csv_frames(model)
    drift = load_drift(directory, path.shape.columns if isinstance(path, FastPath) else {}, metrics)
    if drift is not None:
        drift.start()
        general.count_into(drift)
        for counted in (batcher, batcher.otherwise if batcher is not None else None):
            if counted is not None:
                counted.on_prediction = drift.fast
                drift.as_frame = counted.path.frames.frame if isinstance(counted.path, FramePath) else None
    application = Application(general, batcher, settings, shared, other)
    loaded = time.monotonic() - began
    _describe(metrics, model, settings, batcher is not None)
    metrics.gauges["model_load_seconds"] = (
        "Time in seconds from the start of the server until it was ready.",
        lambda: loaded,
    )
    log.info("ready after %.1fs", loaded)
    return application


def _batcher(general: General, example: bytes | None, settings: ServerSettings, shared: Shared) -> Batcher | None:
    if not settings.fast.enabled:
        log.info("no fast path: --no-fast-path is set")
        return None
    path: FastPath | FramePath
    try:
        path = FastPath(general.model)
        with _quiet():
            verify(path, lambda body: general.respond(body, "application/json"), example, settings.fast.batch)
    except NotFast as reason:
        return _frame_batcher(general, example, settings, shared, str(reason))
    except Exception as error:  # a library's internals differ from what this code expects: do without the fast path
        return _frame_batcher(general, example, settings, shared, one_line(repr(error)))
    log.info("fast path for %s, with at most %d requests per batch", ", ".join(sorted(path.forms)), path.batch)
    batcher = Batcher(path, shared.workers, settings.limits, shared.metrics)
    if not path.shape.tensor and not all(column.required for column in general.schema.inputs):
        batcher.otherwise = _frame_batcher(general, example, settings, shared, "requests with missing values")
    return batcher


def _frame_batcher(
    general: General, example: bytes | None, settings: ServerSettings, shared: Shared, reason: str
) -> Batcher | None:
    """Return the batches of a model that needs a DataFrame.

    Args:
        general: gets the frames of the model, if MLflow's parsing can be replaced.
        example: the model's input example as a request, or None.
        settings: how to serve.
        shared: the parts that the application uses too.
        reason: why the model needs a DataFrame.
    """
    decoder = frames(general.model)
    path = None
    if decoder is not None:
        try:
            with _quiet():
                respond = partial(general.respond, content_type="application/json")
                path = frame_verify.build(general.model, decoder, respond, example, settings.fast.batch)
        except NotFast as error:
            reason += f"; with a DataFrame: {error}"
        except Exception as error:  # as above
            reason += f"; with a DataFrame: {one_line(repr(error))}"
    general.frames = decoder
    if path is None:
        log.info("no fast path: %s", reason)
        return None
    log.info(
        "fast path with %s for %s, with at most %d requests per batch (%s)",
        "the steps of the pipeline" if path.plan is not None else "a DataFrame",
        ", ".join(sorted(path.forms)),
        path.batch,
        reason,
    )
    return Batcher(path, shared.workers, settings.limits, shared.metrics)


class _quiet:
    """Turns off MLflow's warnings about made-up requests.

    No user can act on them.
    """

    def __enter__(self) -> None:
        self._levels = {name: logging.getLogger(name).level for name in ("mlflow",)}
        logging.getLogger("mlflow").setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)


def _smoke_test(general: General, example: bytes | None, directory: Path) -> None:
    """Predict the input example, or a row made from the signature.

    A model that cannot predict its own example would fail its first real request, so it must not become ready. A sound
    model need not predict a row that the server made: an identifier may be unknown, or a category. And if MLflow cannot
    read the example, the model was never asked. Both are only warnings.
    """
    body = example or _from_signature(general.schema)
    if body is None:
        log.info("no smoke test: the model has neither an input example nor a usable signature")
        return
    began = time.monotonic()
    causes: list[BaseException] = []
    general.on_error = causes.append
    response = general.respond(body, "application/json")
    general.on_error = None
    if response.status == 200:
        log.info(
            "predicted %s in %.0f ms",
            "the input example" if example else "a row made from the signature",
            _since(began),
        )
        return
    # MLflow's words about an exception of the model do not say which one it was.
    message = first_line(causes[-1], 400) if causes else _error_message(response)
    if example is None:
        log.warning("cannot predict a row made from the signature: %s. Log the model with an input example", message)
        return
    if not general.reached:
        log.warning("no smoke test: MLflow cannot read the input example: %s. Log the model with another one", message)
        return
    explanation = requirements.explanation(directory, causes[-1] if causes else None)
    advice = (
        f"{explanation}. Set spec.runtime.image to an image with these versions, or correct the model"
        if explanation is not None
        else "Correct the model, or log it with an input example that it can predict"
    )
    raise ScorerError(
        f"the model cannot predict its input example: {message}. {advice}. The traceback is in the container's log"
    )


def _since(began: float) -> float:
    return (time.monotonic() - began) * 1000


def _error_message(response: Response) -> str:
    try:
        text = str(json.loads(response.body)["message"])
    except (ValueError, KeyError, TypeError):
        text = response.body.decode("utf-8", "replace")
    return one_line(text, 400)


def _from_signature(schema: Any) -> bytes | None:
    if schema is None:
        return None
    if schema.is_tensor_spec():
        tensors = [np.zeros([max(size, 1) for size in spec.shape], spec.type).tolist() for spec in schema.inputs]
        inputs = dict(zip(schema.input_names(), tensors, strict=True)) if schema.has_input_names() else tensors[0]
        return json.dumps({"inputs": inputs}, default=str).encode()
    if not schema.has_input_names():
        return None
    kinds = [getattr(spec.type, "name", "") for spec in schema.inputs]
    if any(kind not in _MADE for kind in kinds):
        return None
    row = [_MADE[kind] for kind in kinds]
    return json.dumps({"dataframe_split": {"columns": schema.input_names(), "data": [row]}}).encode()


def _describe(metrics: Metrics, model: Any, settings: ServerSettings, fast: bool) -> None:
    labels = {
        "name": settings.name,
        "version": settings.version,
        "run_id": settings.run_id or str(model.metadata.run_id or ""),
        "flavor": str(model.loader_module or ""),
        "fast_path": str(fast).lower(),
        "device": device.describe(model),
    }
    metrics.families.append(("model_info", "gauge", "The served model.", lambda: [(labels, 1.0)]))
