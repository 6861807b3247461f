"""Access and payload logs: JSON lines on standard output, for a log collector."""

import json
import random
import sys
import time
from typing import Any

from sluicegate_scorer.server.asgi import Message, Response
from sluicegate_scorer.server.settings import Logs
from sluicegate_scorer.server.trace import read_headers

LONGEST = 16 << 10
"""Bytes of a body that a payload line holds."""


class RequestLog:
    """A log with a line for each request, or for a sample of them.

    Args:
        settings: what to log.
    """

    def __init__(self, settings: Logs) -> None:
        self._settings = settings

    def write(
        self, scope: Message, body: bytes, response: Response, took: float, extra: dict[str, Any] | None = None
    ) -> None:
        """Log one request and its response.

        Args:
            scope: the ASGI scope of the request.
            body: its body.
            response: the response.
            took: the time in seconds from the head of the request to the end of the response.
            extra: further fields, and fields to replace, in the entry.
        """
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
        entry.update(extra or {})
        for name, value in read_headers(scope["headers"])[1]:
            entry[name.decode()] = value.decode("latin-1")
        if self._settings.access:
            _line({"log": "access", **entry})
        if self._settings.payloads > 0 and random.random() < self._settings.payloads:
            texts = {"request": body, "response": response.body}
            cut = {name: text[:LONGEST].decode("utf-8", "replace") for name, text in texts.items()}
            _line({"log": "payload", **entry, **cut})


def _line(entry: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(entry) + "\n")
    sys.stdout.flush()
