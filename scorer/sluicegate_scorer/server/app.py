"""The ASGI application: routes, limits, and the two paths of a prediction."""

import logging
import time
from collections.abc import Awaitable, Callable

from sluicegate_scorer.server import answers
from sluicegate_scorer.server import metrics as exposition
from sluicegate_scorer.server.asgi import (
    JSON,
    TEXT,
    Answer,
    App,
    Disconnected,
    Message,
    Receive,
    Send,
    TooLarge,
    closing,
    header,
    read_body,
    reply,
    reply_json,
)
from sluicegate_scorer.server.batching import Batcher, Declined
from sluicegate_scorer.server.deadline import before
from sluicegate_scorer.server.general import General
from sluicegate_scorer.server.logs import RequestLog
from sluicegate_scorer.server.metrics import Metrics
from sluicegate_scorer.server.settings import ServerSettings
from sluicegate_scorer.server.v2 import LENGTH_HEADER, OpenInference
from sluicegate_scorer.server.workers import Overdue, Refused, Workers

log = logging.getLogger("sluicegate_scorer.serve")

_JSON_TYPES = frozenset(
    {JSON, *(JSON + b";" + space + b"charset=" + name for space in (b"", b" ") for name in (b"utf-8", b"UTF-8"))}
)
"""Content types that are certainly JSON to MLflow too; it reads all others itself."""
_PING = Answer(200, b"\n")
_TIMEOUT = Answer(504, b"Request processing time exceeded limit", JSON, "timeout")
_FULL = Answer(
    429,
    b'{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "The server has as many requests waiting as it may have;'
    b' send this one again a little later, or add replicas."}',
    JSON,
    "server",
    ((b"retry-after", b"1"),),
)
_BUG = Answer(500, b"Internal Server Error", TEXT, "server")

Handler = Callable[[bytes, Message], Awaitable[Answer]]


class Application:
    """Answers requests.

    What is not named here goes to MLflow's own application: unknown paths, wrong methods and its documentation
    pages are answered as there.

    Attributes:
        draining: set once SIGTERM came; clients are then asked to reconnect elsewhere.
        answers: what was answered lately, where somebody compares it.
    """

    def __init__(self, general: General, batcher: Batcher | None, settings: ServerSettings) -> None:
        self.draining = False
        self.metrics = Metrics()
        self.answers = answers.Answers(settings.pod_uid)
        self.general = general
        self._settings = settings
        self._workers = Workers(settings.limits)
        self._batcher = batcher
        self._other: App | None = None
        self._log = RequestLog(settings.logs)
        self._logged = settings.logs.access or settings.logs.payloads > 0
        self.v2 = OpenInference(general, settings.name, settings.version)

    def use(self, workers: Workers, metrics: Metrics, other: App) -> None:
        """Shares what was made before the application.

        Args:
            workers: the threads that the batcher uses too.
            metrics: the counters that the batcher uses too.
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

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] == "http":
            path = scope["path"]
            if path == "/invocations":
                if scope["method"] == "POST":
                    await self._predict("invocations", scope, receive, send)
                    return
            elif scope["method"] == "GET":
                if path == "/health" or path == "/ping":
                    await reply(send, _PING, self.draining)
                    return
                if path == "/metrics":
                    await reply(send, Answer(200, self.metrics.text(), exposition.CONTENT_TYPE), self.draining)
                    return
                if path == answers.PATH and self.answers.admits(scope):
                    await reply(send, self.answers.read(scope["query_string"]), self.draining)
                    return
            if path == "/v2" or path.startswith("/v2/"):
                await self._open_inference(scope, receive, send)
                return
        if self._other is not None:
            await self._other(scope, receive, closing(send) if self.draining else send)

    async def _open_inference(self, scope: Message, receive: Receive, send: Send) -> None:
        found = self.v2.route(scope["method"], scope["path"])
        if found is not None:
            await reply(send, found, self.draining)
        else:
            await self._predict("infer", scope, receive, send)

    async def _predict(self, endpoint: str, scope: Message, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        try:
            body = await self._body(receive)
        except Disconnected:
            return
        except TooLarge:
            answer = self._too_large()
            self.metrics.request(endpoint, answer.status, answer.error, time.perf_counter() - began)
            # The rest of the body is not read, so the connection cannot be used again.
            await reply(send, answer, True)
            return
        except Overdue:
            self.metrics.request(endpoint, 504, "timeout", time.perf_counter() - began)
            await reply(send, _TIMEOUT, True)
            return
        batcher = self._batcher
        if batcher is not None and endpoint == "invocations" and header(scope, b"content-type") in _JSON_TYPES:
            rows = batcher.path.parse(body)
            if rows is not None and batcher.takes(rows):
                try:
                    fast = await batcher.answer(rows)
                except Declined:
                    pass
                except Refused:
                    await self._finish(_FULL, (endpoint, scope, body, began), send)
                    return
                except Overdue:
                    await self._finish(_TIMEOUT, (endpoint, scope, body, began), send)
                    return
                else:
                    metrics = self.metrics
                    metrics.paths["fast"] += 1
                    if self._logged or self.answers.recording:
                        await self._finish(Answer(200, fast), (endpoint, scope, body, began), send)
                        return
                    metrics.request("invocations", 200, None, time.perf_counter() - began)
                    await reply_json(send, fast, self.draining)
                    return
        answer = await self._slow(endpoint, scope, body)
        self.metrics.paths["general"] += 1
        await self._finish(answer, (endpoint, scope, body, began), send)

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message["body"]
            if len(body) > self._settings.limits.body:
                raise TooLarge
            return body
        limits = self._settings.limits
        return await before(limits.seconds, read_body(message, receive, limits.body))

    async def _slow(self, endpoint: str, scope: Message, body: bytes) -> Answer:
        """MLflow's own code, in a thread."""
        kind = header(scope, b"content-type")
        content_type = kind.decode("latin-1") if kind is not None else None
        try:
            if endpoint == "infer":
                length = header(scope, LENGTH_HEADER)
                return await self._workers.run(lambda: self.v2.infer(body, length))
            return await self._workers.run(lambda: self.general.answer(body, content_type))
        except Refused:
            return _FULL
        except Overdue:
            return _TIMEOUT
        except Exception:
            log.exception("a request failed in the server itself")
            return _BUG

    async def _finish(self, answer: Answer, request: tuple[str, Message, bytes, float], send: Send) -> None:
        endpoint, scope, body, began = request
        took = time.perf_counter() - began
        self.metrics.request(endpoint, answer.status, answer.error, took)
        if self.answers.recording:
            self.answers.keep(scope, body, answer)
        if self._logged:
            self._log.write(scope, body, answer, took)
        await reply(send, answer, self.draining)

    def _too_large(self) -> Answer:
        limit = self._settings.limits.body
        text = f"The request's body is over the limit of {limit} bytes; send fewer rows a request."
        body = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "' + text.encode() + b'"}'
        return Answer(413, body, JSON, "client")
