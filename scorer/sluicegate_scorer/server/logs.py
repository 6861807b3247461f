"""Access and payload logs: JSON lines on standard output, for a log collector."""

import json
import random
import sys
import time
from typing import Any

from sluicegate_scorer.server.asgi import Message, Response
from sluicegate_scorer.server.settings import Logs
from sluicegate_scorer.server.trace import read_headers

_LONGEST = 16 << 10
"""Bytes of a body that a payload line holds."""


class RequestLog:
    """A log with a line for each request, or for a sample of them.

    Args:
        settings: what to log.
    """

    def __init__(self, settings: Logs) -> None:
        self._settings = settings

    def write(self, scope: Message, body: bytes, response: Response, took: float) -> None:
        """Log one request and its response."""
        entry: dict[str, Any] = {
            "time": time.time(),
            "method": scope["method"],
            "path": scope["path"],
            "status": response.status,
            "error_class": response.error,
            "seconds": round(took, 6),
            "request_bytes": len(body),
            "response_bytes": len(response.body),
            "client": (scope.get("client") or ("", 0))[0],
        }
        for name, value in read_headers(scope["headers"])[1]:
            entry[name.decode()] = value.decode("latin-1")
        if self._settings.access:
            _line({"log": "access", **entry})
        if self._settings.payloads > 0 and random.random() < self._settings.payloads:
            texts = {"request": body, "response": response.body}
            cut = {name: text[:_LONGEST].decode("utf-8", "replace") for name, text in texts.items()}
            _line({"log": "payload", **entry, **cut})


def _line(entry: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(entry) + "\n")
    sys.stdout.flush()
