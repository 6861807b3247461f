"""The ASGI application: routes, limits, and the two paths of a prediction."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sluicegate_scorer.server import metrics as exposition
from sluicegate_scorer.server import recent_predictions, trace
from sluicegate_scorer.server.asgi import (
    JSON,
    TEXT,
    App,
    Disconnected,
    Header,
    Message,
    Receive,
    Response,
    Send,
    TooLarge,
    closing,
    header,
    json_error,
    read_body,
    reply,
    reply_json,
)
from sluicegate_scorer.server.batching import Batcher, Declined
from sluicegate_scorer.server.general import General
from sluicegate_scorer.server.logs import RequestLog
from sluicegate_scorer.server.metrics import Metrics
from sluicegate_scorer.server.settings import ServerSettings
from sluicegate_scorer.server.v2 import LENGTH_HEADER, OpenInference
from sluicegate_scorer.server.workers import Overloaded, Stuck, TimedOut, Workers

log = logging.getLogger("sluicegate_scorer.serve")

_JSON_TYPES = frozenset(
    {JSON, *(JSON + b";" + space + b"charset=" + name for space in (b"", b" ") for name in (b"utf-8", b"UTF-8"))}
)
"""Content types that MLflow also reads as JSON. MLflow itself reads requests with any other type."""
_PING = Response(200, b"\n")
_TIMEOUT = Response(504, b"Request processing time exceeded limit", JSON, "timeout")
_FULL = Response(
    429,
    json_error(
        "REQUEST_LIMIT_EXCEEDED",
        "The server has as many requests waiting as it may have; send this one again a little later, or add replicas.",
    ),
    JSON,
    "overload",
    ((b"retry-after", b"1"),),
)
_STUCK = Response(
    429,
    json_error(
        "REQUEST_LIMIT_EXCEEDED",
        "Every thread of the server is held by a request over its time limit; send this one again a little later.",
    ),
    JSON,
    "timeout",
    ((b"retry-after", b"1"),),
)
"""The response while every thread is held by a request over its time limit.

Its error class is `timeout`, the class of those requests. Otherwise a model that hangs would look like a lack of pods.
"""
_BUG = Response(500, b"Internal Server Error", TEXT, "server")

Handler = Callable[[Message, Receive, Send], Awaitable[None]]


class PredictionRequest(NamedTuple):
    """A prediction request.

    Attributes:
        endpoint: `invocations` or `infer`.
        scope: the ASGI scope.
        body: its body, empty if it was not read.
        began: the start time, by the performance counter.
        content_type: its content type.
        repeated_headers: the request headers that the response repeats.
    """

    endpoint: str
    scope: Message
    body: bytes
    began: float
    content_type: bytes | None
    repeated_headers: tuple[Header, ...]


class Application:
    """The ASGI application that responds to requests.

    All other requests go to MLflow's own application. It responds to unknown paths, wrong methods and its documentation
    pages.

    Attributes:
        draining: set once SIGTERM arrived. Responses then ask clients to reconnect, so that they reach another pod.
        recent: recent predictions, kept while the operator compares them.
    """

    def __init__(self, general: General, batcher: Batcher | None, settings: ServerSettings) -> None:
        self.draining = False
        self.metrics = Metrics()
        self.recent = recent_predictions.RecentPredictions(settings.pod_uid)
        self.general = general
        self._settings = settings
        self._workers = Workers(settings.limits)
        self._batcher = batcher
        self._other: App | None = None
        self._log = RequestLog(settings.logs)
        self._logged = settings.logs.access or settings.logs.payloads > 0
        self.v2 = OpenInference(general, settings.name, settings.version)
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "/invocations"): self._invocations,
            ("GET", "/ping"): self._ping,
            ("GET", "/health"): self._ping,
            ("GET", "/metrics"): self._metrics,
            ("GET", recent_predictions.PATH): self._recent_predictions,
        }

    def use(self, workers: Workers, metrics: Metrics, other: App) -> None:
        """Set the objects that were made before the application.

        Args:
            workers: the threads, which the batcher uses too.
            metrics: the counters, which the batcher uses too.
            other: MLflow's own application.
        """
        self._workers = workers
        self.metrics = metrics
        self._other = other
        batcher = self._batcher
        metrics.gauges["queue_depth"] = (
            "Requests that wait for a thread or a batch.",
            lambda: workers.waiting + (batcher.depth if batcher is not None else 0),
        )
        metrics.gauges["overrun_requests"] = (
            "Requests over their time limit whose model call still runs.",
            lambda: workers.overrun,
        )

    def route(self, method: str, path: str, handler: Handler) -> None:
        """Add an endpoint."""
        self._routes[method, path] = handler

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        if scope["type"] == "http":
            path = scope["path"]
            handler = self._routes.get((scope["method"], path))
            if handler is not None:
                await handler(scope, receive, send)
                return
            if path == "/v2" or path.startswith("/v2/"):
                await self._open_inference(scope, receive, send)
                return
        if self._other is not None:
            await self._other(scope, receive, closing(send) if self.draining else send)

    async def _ping(self, scope: Message, receive: Receive, send: Send) -> None:
        await reply(send, _PING, self.draining)

    async def _metrics(self, scope: Message, receive: Receive, send: Send) -> None:
        await reply(send, Response(200, self.metrics.text(), exposition.CONTENT_TYPE), self.draining)

    async def _recent_predictions(self, scope: Message, receive: Receive, send: Send) -> None:
        if self.recent.admits(scope):
            await reply(send, self.recent.read(scope["query_string"]), self.draining)
        elif self._other is not None:
            await self._other(scope, receive, closing(send) if self.draining else send)

    async def _invocations(self, scope: Message, receive: Receive, send: Send) -> None:
        await self._predict("invocations", scope, receive, send)

    async def _open_inference(self, scope: Message, receive: Receive, send: Send) -> None:
        response = self.v2.route(scope["method"], scope["path"])
        if response is not None:
            await reply(send, response, self.draining)
        else:
            await self._predict("infer", scope, receive, send)

    async def _predict(self, endpoint: str, scope: Message, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        kind, passed = trace.read_headers(scope["headers"])
        try:
            body = await self._read_body(receive)
        except Disconnected:
            return
        except TooLarge:
            # The rest of the body is not read, so the connection cannot be used again.
            await self._finish(
                self._too_large(), PredictionRequest(endpoint, scope, b"", began, kind, passed), send, last=True
            )
            return
        batcher = self._batcher
        if batcher is not None and kind in _JSON_TYPES and endpoint == "invocations":
            rows = batcher.path.parse(body)
            if rows is not None and batcher.takes(rows):
                try:
                    fast = await batcher.respond(rows)
                except Declined:
                    pass
                except (Overloaded, TimedOut) as error:
                    response = _FULL if isinstance(error, Overloaded) else _TIMEOUT
                    await self._finish(response, PredictionRequest(endpoint, scope, body, began, kind, passed), send)
                    return
                else:
                    metrics = self.metrics
                    metrics.paths["fast"] += 1
                    if self._logged or self.recent.recording:
                        request = PredictionRequest(endpoint, scope, body, began, kind, passed)
                        await self._finish(Response(200, fast), request, send)
                        return
                    metrics.request("invocations", 200, None, time.perf_counter() - began)
                    await reply_json(send, fast, passed, self.draining)
                    return
        request = PredictionRequest(endpoint, scope, body, began, kind, passed)
        response = await self._predict_general(request)
        self.metrics.paths["general"] += 1
        await self._finish(response, request, send)

    async def _read_body(self, receive: Receive) -> bytes:
        """Read the body of a request, up to the size limit.

        The connection limits the time (http1.py).
        """
        limit = self._settings.limits.body
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message["body"]
            if len(body) > limit:
                raise TooLarge
            return body
        return await read_body(message, receive, limit)

    async def _predict_general(self, request: PredictionRequest) -> Response:
        """Respond with MLflow's own code, in a thread."""
        try:
            return await self._workers.run(lambda: self._respond(request))
        except Stuck:
            return _STUCK
        except Overloaded:
            return _FULL
        except TimedOut:
            return _TIMEOUT
        except Exception:
            log.exception("a request failed in the server itself")
            return _BUG

    def _respond(self, request: PredictionRequest) -> Response:
        with trace.current(request.repeated_headers):
            if request.endpoint == "infer":
                return self.v2.infer(request.body, header(request.scope, LENGTH_HEADER))
            return self.general.respond(
                request.body, request.content_type.decode("latin-1") if request.content_type is not None else None
            )

    async def _finish(self, response: Response, request: PredictionRequest, send: Send, last: bool = False) -> None:
        took = time.perf_counter() - request.began
        self.metrics.request(request.endpoint, response.status, response.error, took)
        if self.recent.recording and not last:
            self.recent.keep(request.scope, request.body, response)
        if self._logged:
            self._log.write(request.scope, request.body, response, took)
        if request.repeated_headers:
            response = response._replace(headers=(*response.headers, *request.repeated_headers))
        await reply(send, response, last or self.draining)

    def _too_large(self) -> Response:
        limit = self._settings.limits.body
        text = f"The request's body is over the limit of {limit} bytes; send fewer rows a request."
        return Response(413, json_error("INVALID_PARAMETER_VALUE", text), JSON, "client")
