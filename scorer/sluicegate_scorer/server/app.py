"""The ASGI application: routes, limits, and the two paths of a prediction."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from sluicegate_scorer.server import encoding, openai_requests, recent_predictions, streaming, trace
from sluicegate_scorer.server import metrics as exposition
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
from sluicegate_scorer.server.batching import Batcher
from sluicegate_scorer.server.general import JSON_TYPES, General
from sluicegate_scorer.server.metrics import Metrics
from sluicegate_scorer.server.request_log import RequestLog
from sluicegate_scorer.server.settings import ServerSettings
from sluicegate_scorer.server.v2 import LENGTH_HEADER, OpenInference, as_error
from sluicegate_scorer.server.workers import Overloaded, Stuck, TimedOut, Workers

log = logging.getLogger("sluicegate_scorer.serve")

_JSON_TYPES = frozenset(name.encode() for name in JSON_TYPES)
_PARSED_ON_LOOP = 128 << 10
"""Bytes of a body that the event loop decodes itself. A larger one would delay /health and every other request."""
_PING = Response(200, b"\n")
_TIMEOUT = Response(504, b"Request processing time exceeded limit", JSON, "timeout")
_FULL = Response(
    429,
    json_error(
        "REQUEST_LIMIT_EXCEEDED",
        "The queue of the server is full. Send the request again later, or add replicas.",
    ),
    JSON,
    "overload",
    ((b"retry-after", b"1"),),
)
_STUCK = Response(
    429,
    json_error(
        "REQUEST_LIMIT_EXCEEDED",
        "Requests over their time limit hold every thread of the server. Send the request again later.",
    ),
    JSON,
    "timeout",
    ((b"retry-after", b"1"),),
)
"""The response while every thread is held by a request over its time limit.

Its error class is `timeout`, the class of those requests. Otherwise a model that hangs would look like a lack of pods.
"""
_REFUSALS: dict[type[Exception], Response] = {Overloaded: _FULL, Stuck: _STUCK, TimedOut: _TIMEOUT}
_NO_STREAM = Response(
    400,
    json_error(
        "INVALID_PARAMETER_VALUE",
        'The model does not implement predict_stream. Send the request without "stream": true.',
    ),
    JSON,
    "client",
)
_BUG = Response(500, b"Internal Server Error", TEXT, "server")

Handler = Callable[[Message, Receive, Send], Awaitable[None]]


class PredictionRequest(NamedTuple):
    """A prediction request.

    Attributes:
        endpoint: `invocations`, `infer`, or one of OpenAI's (`openai_requests`).
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


class Shared(NamedTuple):
    """What the application shares with the batcher.

    Attributes:
        workers: the threads.
        metrics: the counters.
    """

    workers: Workers
    metrics: Metrics


class Application:
    """The ASGI application that responds to requests.

    All other requests go to MLflow's own application. It responds to unknown paths, wrong methods and its documentation
    pages.

    Args:
        general: responds with MLflow's own code.
        batcher: the fast path, or None if the model has none.
        settings: how to serve.
        shared: the parts that the batcher uses too.
        other: MLflow's own application.

    Attributes:
        draining: set once SIGTERM arrived. Responses then ask clients to reconnect, so that they reach another pod.
        recent: recent predictions, kept while the operator compares them.
    """

    def __init__(
        self, general: General, batcher: Batcher | None, settings: ServerSettings, shared: Shared, other: App
    ) -> None:
        self.draining = False
        self.recent = recent_predictions.RecentPredictions(settings.pod_uid)
        self.general = general
        self.v2 = OpenInference(general, settings.name, settings.version)
        self._settings = settings
        self._batcher = batcher
        self._workers, self.metrics = shared
        self._other = other
        self._log = RequestLog(settings.logs)
        self._logged = settings.logs.access or settings.logs.payloads > 0
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "/invocations"): partial(self._predict, "invocations"),
            # MLflow's server has no `/`. Some gateways, such as GKE's, check the health of a backend there.
            ("GET", "/"): self._ping,
            ("GET", "/ping"): self._ping,
            ("GET", "/health"): self._ping,
            ("GET", "/metrics"): self._metrics,
            ("GET", recent_predictions.PATH): self._recent_predictions,
        }
        for path, endpoint in openai_requests.paths(general.model).items():
            self.route("POST", path, partial(self._predict, endpoint))
            self.metrics.add_endpoint(endpoint)
        self._streaming = None
        if streaming.can_stream(general.model):
            self._streaming = streaming.Streaming(general, self._workers, settings.limits, self.metrics)
        self._add_gauges()

    def _add_gauges(self) -> None:
        workers, batcher = self._workers, self._batcher
        self.metrics.gauges["queue_depth"] = (
            "Requests that wait for a thread or a batch.",
            lambda: workers.waiting + (batcher.depth if batcher is not None else 0),
        )
        self.metrics.gauges["overrun_requests"] = (
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
        await self._other(scope, receive, closing(send) if self.draining else send)

    async def _ping(self, scope: Message, receive: Receive, send: Send) -> None:
        await reply(send, _PING, self.draining)

    async def _metrics(self, scope: Message, receive: Receive, send: Send) -> None:
        await reply(send, Response(200, self.metrics.text(), exposition.CONTENT_TYPE), self.draining)

    async def _recent_predictions(self, scope: Message, receive: Receive, send: Send) -> None:
        if self.recent.admits(scope):
            await reply(send, self.recent.read(scope["query_string"]), self.draining)
        else:
            await self._other(scope, receive, closing(send) if self.draining else send)

    async def _open_inference(self, scope: Message, receive: Receive, send: Send) -> None:
        response = self.v2.route(scope["method"], scope["path"])
        if response is not None:
            await reply(send, response, self.draining)
        else:
            await self._predict("infer", scope, receive, send)

    async def _predict(self, endpoint: str, scope: Message, receive: Receive, send: Send) -> None:
        """Read a body, predict by the fast path or else by MLflow's own code, and send the response.

        A prediction of the fast path that no log needs is counted and sent here, without a `PredictionRequest`.
        """
        began = time.perf_counter()
        content_type, repeated_headers, coding = trace.read_headers(scope["headers"])
        response = prediction = None
        try:
            body = await self._read_body(receive)
            if coding is not None:
                body, response = await self._expand(body, coding)
        except Disconnected:
            return
        except TooLarge:
            request = PredictionRequest(endpoint, scope, b"", began, content_type, repeated_headers)
            # The rest of the body is not read, so the connection cannot be used again.
            await self._finish(request, self._too_large(), send, last=True)
            return
        if response is None and content_type in _JSON_TYPES:
            if self._may_stream(endpoint):
                parse = partial(openai_requests.parse, endpoint, body)
                body, asks_for_stream = parse() if len(body) <= _PARSED_ON_LOOP else await asyncio.to_thread(parse)
                if asks_for_stream:
                    request = PredictionRequest(endpoint, scope, body, began, content_type, repeated_headers)
                    await self._stream(request, receive, send)
                    return
            if self._batcher is not None and endpoint == "invocations":
                try:
                    prediction = await self._predict_fast(self._batcher, body, repeated_headers)
                except (Overloaded, TimedOut) as error:
                    response = _REFUSALS[type(error)]
        if prediction is not None:
            self.metrics.paths["fast"] += 1
            if not (self._logged or self.recent.recording):
                self.metrics.request("invocations", 200, None, time.perf_counter() - began)
                await reply_json(send, prediction, repeated_headers, self.draining)
                return
            response = Response(200, prediction)
        request = PredictionRequest(endpoint, scope, body, began, content_type, repeated_headers)
        if response is None:
            response = await self._predict_general(request)
            self.metrics.paths["general"] += 1
        await self._finish(request, response, send)

    def _may_stream(self, endpoint: str) -> bool:
        return endpoint in openai_requests.ENDPOINTS or (endpoint == "invocations" and self._streaming is not None)

    async def _predict_fast(self, batcher: Batcher, body: bytes, headers: tuple[Header, ...]) -> bytes | None:
        """Return the body of the response, or None if MLflow's own code has to respond.

        Raises:
            Overloaded: if too many requests wait.
            TimedOut: if the time limit passed.
        """
        if len(body) <= _PARSED_ON_LOOP:
            chosen, rows = batcher.choose(body)
        else:
            chosen, rows = await self._workers.run(partial(batcher.choose, body))
        return None if rows is None else await chosen.respond(rows, headers)

    async def _stream(self, request: PredictionRequest, receive: Receive, send: Send) -> None:
        """Respond with a stream, count it and log it."""
        if self._streaming is None:
            await self._finish(request, _NO_STREAM, send)
            return
        self.metrics.paths["general"] += 1
        call = streaming.Call(request.body, request.repeated_headers, request.began, self._settings.logs.payloads > 0)
        try:
            ended = await self._streaming.respond(call, receive, send, self.draining)
        except (Overloaded, TimedOut) as error:
            ended = _REFUSALS[type(error)]
        if isinstance(ended, Response):
            await self._finish(request, ended, send)
            return
        if ended.first_seconds is None:
            return
        self.metrics.stream(request.endpoint, ended.error)
        if self._logged:
            response = Response(200, ended.text, streaming.MEDIA, ended.error)
            self._log.write(request.scope, request.body, response, time.perf_counter() - request.began, ended.fields())

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

    async def _expand(self, body: bytes, coding: bytes) -> tuple[bytes, Response | None]:
        """Expand a body with a `Content-Encoding`, up to the size limit.

        Returns:
            The expanded body, and the response to a request whose body cannot be expanded.

        Raises:
            TooLarge: if the expanded body is over the limit.
        """
        try:
            if encoding.is_plain(coding):
                return body, None
            expansion = encoding.Expansion(body, self._settings.limits.body)
            expanded = expansion.expand(_PARSED_ON_LOOP)
            if expanded is None:
                expanded = await self._workers.run(expansion.expand)
            return expanded or b"", None
        except encoding.Unsupported as error:
            text = json_error("INVALID_PARAMETER_VALUE", str(error))
            return b"", Response(415, text, JSON, "client", (encoding.ACCEPTED,))
        except encoding.Corrupt as error:
            return b"", Response(400, json_error("BAD_REQUEST", str(error)), JSON, "client")
        except (Overloaded, TimedOut) as error:
            return b"", _REFUSALS[type(error)]

    async def _predict_general(self, request: PredictionRequest) -> Response:
        """Predict with MLflow's own code, in a thread."""
        try:
            return await self._workers.run(lambda: self._respond(request))
        except (Overloaded, TimedOut) as error:
            return _REFUSALS[type(error)]
        except Exception:
            log.exception("unexpected error in the scoring server")
            return _BUG

    def _respond(self, request: PredictionRequest) -> Response:
        with trace.current(request.repeated_headers):
            if request.endpoint == "infer":
                return self.v2.infer(request.body, header(request.scope, LENGTH_HEADER))
            content_type = request.content_type
            return self.general.respond(
                request.body, content_type.decode("latin-1") if content_type is not None else None
            )

    async def _finish(self, request: PredictionRequest, response: Response, send: Send, last: bool = False) -> None:
        """Count, keep and log a response, and send it.

        Args:
            request: the request.
            response: the response, without the headers that it repeats.
            send: the ASGI channel of the request.
            last: whether the connection has to close, because the body of the request was not read.
        """
        if request.endpoint == "infer" and response.error is not None:
            response = as_error(response)
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
        text = f"The request body exceeds the limit of {limit} bytes. Send fewer rows per request."
        return Response(413, json_error("INVALID_PARAMETER_VALUE", text), JSON, "client")
