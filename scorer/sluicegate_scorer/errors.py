"""Failures that a person will read in `kubectl get mdep`: one sentence each, without secrets.

The operator copies a pod's termination message into a condition, so whatever leaves this package as an
error has
to say what failed and what to do, in words that need no traceback.
"""

import re

MAX_MESSAGE = 1024
"""Characters of a message; Kubernetes itself cuts termination messages at 4096 bytes."""

_USERINFO = re.compile(
    r"(?<![A-Za-z0-9+.-])(?!(?:wasbs?|abfss?)://[a-z0-9$-]+@)(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s'\"]*@"
)
"""What stands before an @; in Azure's URIs it is the container."""
_SECRET_PARAMETER = re.compile(
    r"(?P<name>[?&](?:[\w.-]*(?:token|secret|signature|password|credential|key)[\w.-]*|sig)=)[^&\s'\"]+", re.I
)
_HEADER = re.compile(r"\b(?P<kind>Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}")


class ScorerError(Exception):
    """A failure whose text is the whole report."""


class TransientError(ScorerError):
    """A failure that the same request may not meet again.

    Attributes:
        unreachable: no connection was made at all, so the far side may be wrong or not up yet.
        retry_after: seconds the far side asked us to wait, where it did.
    """

    def __init__(self, message: str, *, unreachable: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.unreachable = unreachable
        self.retry_after = retry_after


def redact(text: str) -> str:
    """Takes user:password@, secret query parameters and authorization values out of a text."""
    text = _USERINFO.sub(r"\g<scheme>***@", text)
    text = _SECRET_PARAMETER.sub(r"\g<name>***", text)
    return _HEADER.sub(r"\g<kind> ***", text)


def one_line(text: str, limit: int = MAX_MESSAGE) -> str:
    """Redacts, joins to one line and shortens, so that a message stays one sentence in a condition."""
    line = " ".join(redact(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_line(error: BaseException, limit: int = MAX_MESSAGE) -> str:
    """The exception's class and the first line of its message that says something."""
    lines = (line.strip() for line in str(error).splitlines())
    detail = next((line for line in lines if line), "")
    name = type(error).__name__
    return one_line(f"{name}: {detail}" if detail else name, limit)
