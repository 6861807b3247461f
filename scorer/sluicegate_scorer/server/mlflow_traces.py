"""MLflow's traces of agents and chat models.

MLflow traces every call of them. Without a tracking server it would write each trace to `mlflow.db` in the working
directory, which no client of the server reads and which has no limit.
"""

import logging
import os
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger("sluicegate_scorer.serve")

T = TypeVar("T")

_DESTINATIONS = (
    "MLFLOW_TRACING_DESTINATION",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
"""Variables that name a destination of traces besides the tracking URI."""


def limit() -> None:
    """Turn traces off, unless the user or the model's code set where they go.

    Call it after the model is loaded, because the model may set the tracking URI.
    """
    if _has_destination():
        return
    import mlflow.tracing

    mlflow.tracing.disable()
    log.debug("no traces: no tracking URI is set")


def untraced(work: Callable[[], T]) -> T:
    """Call a function without traces.

    The server's own calls of the model are not requests. A tracking server that does not respond must not delay them.
    """
    from mlflow.tracing.provider import trace_disabled

    result: T = trace_disabled(work)()
    return result


def _has_destination() -> bool:
    import mlflow
    from mlflow.environment_variables import MLFLOW_USE_DEFAULT_TRACER_PROVIDER
    from mlflow.tracing.provider import _MLFLOW_TRACE_USER_DESTINATION

    return (
        mlflow.tracking.is_tracking_uri_set()
        or any(os.environ.get(name) for name in _DESTINATIONS)
        or _MLFLOW_TRACE_USER_DESTINATION.get() is not None
        or not MLFLOW_USE_DEFAULT_TRACER_PROVIDER.get()  # the model's own OpenTelemetry exports them
    )
