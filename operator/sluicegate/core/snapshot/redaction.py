"""Texts of other programs, made fit for status, Events and terminals.

They are without credentials and without characters that steer a terminal, in one line, and short.
"""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"(?ix) (password|passwd|token|secret|api[-_]?key|access[-_]?key|authorization) "
    r"""(["']?\s*[=:]\s*) (?:(?:bearer|basic)\s+)?
    (?:"[^"]*"|'[^']*'|\S+) | \b(bearer) (\s+) [\w.~+/=-]{8,}"""
)
_USERINFO = re.compile(r"(?i)(?<![a-z0-9+.-])(?!(?:wasbs?|abfss?)://[a-z0-9$-]+@)([a-z][a-z0-9+.-]*://)[^/\s]+@")
_LIMIT = 600


def printable(text: str) -> str:
    """Replace the characters that can steer a terminal, or that hide or reorder its text, by spaces.

    They are those that are not printable by the rules of Unicode: ESC and the other control characters, line breaks,
    and the overrides of the direction of text.
    """
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def redact(text: str) -> str:
    """Return `text` without what looks like a credential.

    The text comes from the log of a container, and the operator writes it to status and Events.
    """
    return _USERINFO.sub(r"\1***@", _SECRET.sub(r"\1\2\3\4***", text))


def last_line(text: str) -> str:
    """Return the last line of a termination message that is not blank.

    The line is redacted and printable, and has at most 600 characters.
    """
    lines = [line for line in (printable(line).strip() for line in text.splitlines()) if line]
    line = redact(lines[-1]) if lines else ""
    return line if len(line) <= _LIMIT else line[: _LIMIT - 1] + "…"


def sentence(message: str) -> str:
    """Return a message of another program as a sentence, because more may follow."""
    return message if message.endswith((".", "!", "?", "…")) else f"{message}."
