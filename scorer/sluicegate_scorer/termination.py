"""The termination message, which the kubelet copies into the pod's status."""

import json
import os
from pathlib import Path

from sluicegate_scorer.errors import MAX_MESSAGE, Reason, one_line

_LIMIT = 4096
"""Bytes that Kubernetes keeps."""


def write(message: str) -> None:
    """Write to the termination log if it exists.

    Running outside Kubernetes is not an error. The file is a bind mount that the kubelet made. It is written in place,
    never created in /dev, and never replaced by a rename.
    """
    path = Path(os.environ.get("TERMINATION_LOG", "/dev/termination-log"))
    if path == Path("/dev/termination-log") and not path.exists():
        return
    try:
        path.write_bytes(message.encode()[:_LIMIT])
    except OSError:
        return


def write_failure(message: str, reason: Reason) -> str:
    """Write a failure as JSON, `{"reason": ..., "message": ...}`, and return the redacted message."""
    limit = MAX_MESSAGE
    line = one_line(message, limit)
    while len((text := _encoded(line, reason)).encode()) > _LIMIT:  # characters may take four bytes, escapes six
        limit = limit * 3 // 4
        line = one_line(message, limit)
    write(text)
    return line


def _encoded(message: str, reason: Reason) -> str:
    return json.dumps({"reason": reason, "message": message}, ensure_ascii=False)
