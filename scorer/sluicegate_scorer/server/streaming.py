"""Server-sent events from models that have `predict_stream`.

The format is that of MLflow's agent server (`mlflow.genai.agent_server`) and of OpenAI's API: `data: JSON` for each
event, and `data: [DONE]` at the end.

A stream holds one thread of the model from its first event to its last. The thread passes events to the event loop
through a `Channel` of limited length, so a slow client slows down its model and costs no memory. Until the first event
exists, nothing is sent, so an early failure has a status and an error class like that of any other request.
"""

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import Generator
from functools import partial
from typing import Any, NamedTuple

from mlflow.pyfunc.model import PythonModel
from mlflow.utils.proto_json_utils import NumpyEncoder, _get_jsonable_obj

from sluicegate_scorer.server import trace
from sluicegate_scorer.server.asgi import TEXT, Header, Receive, Response, Send
from sluicegate_scorer.server.general import MODEL_ERROR, General
from sluicegate_scorer.server.metrics import SECONDS as BOUNDS
from sluicegate_scorer.server.metrics import Histogram, Metrics
from sluicegate_scorer.server.request_log import LONGEST
from sluicegate_scorer.server.settings import Limits
from sluicegate_scorer.server.stream_channel import END, GONE, Cancelled, Channel, Event
from sluicegate_scorer.server.workers import Overloaded, TimedOut, Workers

log = logging.getLogger("sluicegate_scorer.serve")

MEDIA = b"text/event-stream; charset=utf-8"
COMMENT_SECONDS = 15.0
"""Seconds without an event after which the server sends a comment, which clients ignore.

It keeps gateways from closing an idle connection. A client that vanished without closing the connection is noticed,
because it does not acknowledge the comment.
"""
_COMMENT = b": the model is still working\n\n"
_DONE = b"data: [DONE]\n\n"
_HEADERS: tuple[Header, ...] = (
    (b"content-type", MEDIA),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # gateways that are based on nginx would otherwise collect events
)
_BUG = Response(500, b"Internal Server Error", TEXT, "server")
_BASES = "mlflow.pyfunc.model"
"""The module of MLflow's base classes. Their `predict_stream` only raises an exception."""


def can_stream(model: Any) -> bool:
    """Tell whether a loaded pyfunc model implements `predict_stream`."""
    if getattr(model, "_predict_stream_fn", None) is None:
        return False
    try:
        implementation = model.get_raw_model()
    except Exception:  # another flavor, which MLflow recorded as one that can stream
        return True
    if not isinstance(implementation, PythonModel):
        return True
    owner = next((each for each in type(implementation).__mro__ if "predict_stream" in vars(each)), None)
    return owner is not None and owner.__module__ != _BASES


class Call(NamedTuple):
    """A request for a stream.

    Attributes:
        body: its body.
        headers: the headers that the response repeats.
        began: the start time, by the performance counter.
        log_text: whether to keep the beginning of the response for the payload log.
    """

    body: bytes
    headers: tuple[Header, ...]
    began: float
    log_text: bool


class Ended(NamedTuple):
    """How a stream ended.

    Attributes:
        how: `complete`, `error`, or `client` if the client disconnected.
        error: the error class if an error ended it.
        events: number of events of the model.
        size: bytes of the response.
        text: the beginning of the response, if it is to be logged.
        first_seconds: time to the first event; None if the client disconnected before it.
    """

    how: str
    error: str | None = None
    events: int = 0
    size: int = 0
    text: bytes = b""
    first_seconds: float | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields for the log of requests."""
        return {
            "stream_end": self.how,
            "events": self.events,
            "response_bytes": self.size,
            "first_event_seconds": round(self.first_seconds or 0.0, 6),
        }


_SILENT = object()


class _FirstEvent:
    """A model for MLflow's own code, whose prediction is the first event of a stream.

    MLflow's code parses the request, enforces the signature, and creates the response to an early failure.
    """

    def __init__(self, model: Any) -> None:
        self.metadata = model.metadata
        self.events: Generator[Any, None, None] | None = None
        self.first: Any = END
        self.seconds = 0.0
        self._model = model

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        began = time.perf_counter()
        self.events = self._model.predict_stream(data, params=params)
        self.first = next(self.events, END)
        self.seconds = time.perf_counter() - began
        return None if self.first is END else _plain(self.first)


def _plain(chunk: Any) -> Any:
    """Return a chunk that is a pydantic model or a dataclass as a dictionary, as MLflow's agent server does."""
    if hasattr(chunk, "model_dump"):
        return chunk.model_dump(exclude_none=True)
    if dataclasses.is_dataclass(chunk) and not isinstance(chunk, type):
        return dataclasses.asdict(chunk)
    return chunk


def _encode(chunk: Any) -> bytes:
    plain = _get_jsonable_obj(_plain(chunk), pandas_orient="records")  # type: ignore[no-untyped-call]
    return b"data: %s\n\n" % json.dumps(plain, cls=NumpyEncoder).encode()


def _error_event(message: str, error: str, code: str) -> bytes:
    """Return an event that OpenAI's clients raise as an exception with this message."""
    fields = {"error": {"message": message, "type": error, "code": code}}
    return b"event: error\ndata: %s\n\n" % json.dumps(fields).encode()


class Streaming:
    """Responds to requests for streams.

    Args:
        general: MLflow's own code around the model.
        workers: the threads.
        limits: time limits.
        metrics: the counters of the process.
    """

    def __init__(self, general: General, workers: Workers, limits: Limits, metrics: Metrics) -> None:
        self._general = general
        self._workers = workers
        self._idle = limits.stream_idle or limits.seconds
        self._open = 0
        self._first = Histogram(BOUNDS)
        self._intervals = Histogram(BOUNDS)
        self._ended = {"complete": 0, "error": 0, "client": 0}
        general.watch_stream()
        self._expose(metrics)

    def _expose(self, metrics: Metrics) -> None:
        self._requests = metrics.seconds
        metrics.histograms += [
            (
                "stream_first_event_seconds",
                "Time in seconds from the head of a request to the first event of its stream.",
                self._first,
            ),
            (
                "stream_event_interval_seconds",
                "Time in seconds that the model took for each event of a stream after the first.",
                self._intervals,
            ),
        ]
        metrics.families.append(
            (
                "streams_total",
                "counter",
                "Streams by how they ended: complete, error, or client (the client disconnected).",
                lambda: [({"end": how}, float(count)) for how, count in self._ended.items()],
            )
        )
        metrics.gauges["open_streams"] = ("Streams that wait for a thread or have not ended.", lambda: self._open)

    async def respond(self, call: Call, receive: Receive, send: Send, draining: bool) -> Response | Ended:
        """Send a stream to its end.

        Returns:
            How the stream ended, or the response to send if it failed before its first event.

        Raises:
            Overloaded: if too many requests wait, or no thread was free within the time limit.
            TimedOut: if the first event did not arrive within the time limit.
        """
        loop = asyncio.get_running_loop()
        channel = Channel(loop)
        job = self._workers.enqueue(partial(self._produce, call, channel))
        job.result.add_done_callback(lambda result: result.cancelled() or result.exception())
        watcher = loop.create_task(channel.watch(receive))
        self._open += 1
        try:
            try:
                first = await channel.get(self._idle)
            except TimeoutError:
                started = job.started
                self._workers.expire(job)
                raise TimedOut if started else Overloaded from None
            if isinstance(first, Response):
                return first
            ended = await self._send_stream(first, call, channel, send, draining)
            if ended.error == "timeout":
                self._workers.expire(job)
            self._ended[ended.how] += 1
            return ended
        finally:
            self._open -= 1
            watcher.cancel()
            channel.cancel()
            if not job.started:
                job.result.cancel()
            elif not job.result.done():  # the model stops at its next event, if there is one
                timer = loop.call_later(self._idle, self._workers.expire, job)
                job.result.add_done_callback(lambda _: timer.cancel())

    async def _send_stream(self, first: Any, call: Call, channel: Channel, send: Send, draining: bool) -> Ended:
        if first is GONE:
            return Ended("client")
        took = time.perf_counter() - call.began
        self._first.add(took)
        # The latency of a stream is the time to its first event. Its length depends on what was asked.
        self._requests.add(took)
        closing: tuple[Header, ...] = ((b"connection", b"close"),) if draining else ()
        await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *call.headers, *closing]})
        events = size = 0
        text = b""
        item = first
        while True:
            parts = []
            while isinstance(item, Event):
                if events:
                    self._intervals.add(item.seconds)
                events += 1
                parts.append(item.data)
                item = channel.ready()
            how, error = "complete", None
            if isinstance(item, Response):
                how, error = "error", item.error
                parts.append(_failure(item))
            elif item is _SILENT:
                how, error = "error", "timeout"
                parts.append(_error_event(f"The model sent no event for {self._idle:g} s.", "timeout", "TIMEOUT"))
            if item is not None:
                parts.append(_DONE)
            data = b"".join(parts)
            if item is GONE or not await self._send(send, data, more=item is None):
                return Ended("client", None, events, size, text, took)
            size += len(data)
            if call.log_text and len(text) < LONGEST:
                text += data
            if item is not None:
                return Ended(how, error, events, size, text, took)
            item = await self._next(channel, send)

    async def _next(self, channel: Channel, send: Send) -> Any:
        """Return the next item, and send comments until there is one."""
        now = asyncio.get_running_loop().time
        until = now() + self._idle
        while True:
            try:
                return await channel.get(min(COMMENT_SECONDS, max(0.0, until - now())))
            except TimeoutError:
                if now() >= until:
                    return _SILENT
            if not await self._send(send, _COMMENT, more=True):
                return GONE

    async def _send(self, send: Send, data: bytes, more: bool) -> bool:
        """Send a part of the response.

        Returns:
            False if the client has not read enough of the parts before within the time limit.
        """
        try:
            async with asyncio.timeout(self._idle):
                await send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError:
            return False
        return True

    def _produce(self, call: Call, channel: Channel) -> None:
        """Run the model in a thread, and pass its events to the event loop."""
        try:
            with trace.current(call.headers):
                channel.put(self._run(call.body, channel))
        except Cancelled:
            pass
        except Exception:
            log.exception("unexpected error in the scoring server")
            if not channel.cancelled:
                channel.put(_BUG)

    def _run(self, body: bytes, channel: Channel) -> Any:
        """Return the failure of the model, or the mark of the end."""
        if channel.cancelled:
            raise Cancelled
        model = _FirstEvent(self._general.model)
        try:
            response = self._general.respond(body, "application/json", model)
            events = model.events
            if response.error is not None or events is None:
                return response
            if model.first is END:
                return END
            channel.put(Event(_encode(model.first), model.seconds))
            began = time.perf_counter()
            try:
                for chunk in events:
                    data = _encode(chunk)
                    channel.put(Event(data, time.perf_counter() - began))
                    began = time.perf_counter()
            except Cancelled:
                raise
            except Exception as error:
                return self._general.failure(error)
            return END
        finally:
            if model.events is not None:
                _close(model.events)


def _close(events: Generator[Any, None, None]) -> None:
    """End the model's generator, so that its `finally` blocks run."""
    try:
        events.close()
    except Exception:
        log.warning("the model raised an exception when its stream was closed%s", trace.log_suffix(), exc_info=True)


def _failure(response: Response) -> bytes:
    """Return the event for a failure after the first event. It says what the response would have said."""
    error = response.error or "server"
    try:
        fields = json.loads(response.body)
        code = str(fields["error_code"]) if error == "client" else MODEL_ERROR
        return _error_event(str(fields["message"]), error, code)
    except (ValueError, KeyError, TypeError):
        return _error_event(response.body.decode("utf-8", "replace"), error, MODEL_ERROR)
