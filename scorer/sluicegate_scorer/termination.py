"""The termination message, which the kubelet copies into the pod's status."""

import os
from pathlib import Path

from sluicegate_scorer.errors import one_line

_LIMIT = 4096


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


def write_failure(message: str) -> str:
    """Write a failure, and return the redacted line that was written."""
    line = one_line(message)
    write(line)
    return line
