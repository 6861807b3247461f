"""The paths and requests of OpenAI's clients.

A ChatModel takes requests of `client.chat.completions`, and a ResponsesAgent those of `client.responses`. Both are
MLflow's own schemas after OpenAI's, which leave out some forms that OpenAI accepts. This module writes those in the
form that MLflow accepts.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

CHAT = "chat_completions"
RESPONSES = "responses"
ENDPOINTS = frozenset({CHAT, RESPONSES})
_PATHS = {
    "mlflow.pyfunc.loaders.chat_model": {"/v1/chat/completions": CHAT},
    "mlflow.pyfunc.loaders.responses_agent": {"/v1/responses": RESPONSES, "/responses": RESPONSES},
}


def paths(model: Any) -> dict[str, str]:
    """Return the paths for a loaded pyfunc model, and the endpoint of each for metrics."""
    return _PATHS.get(str(getattr(model, "loader_module", "")), {})


_IGNORED = ("model", "stream_options")
"""Fields that clients always send and no model takes. MLflow would log a warning for each request."""


class Parsed(NamedTuple):
    """A request body as MLflow accepts it, and whether it asks for a stream."""

    body: bytes
    stream: bool


def parse(endpoint: str, body: bytes) -> Parsed:
    """Read the body of a request.

    MLflow's own code responds to a body that is not a JSON object, so it is returned as it is.
    """
    translate = _TRANSLATIONS.get(endpoint)
    if translate is None and b'"stream"' not in body:
        return Parsed(body, False)
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return Parsed(body, False)
    if not isinstance(request, dict):
        return Parsed(body, False)
    if translate is not None:
        for name in _IGNORED:
            request.pop(name, None)
        translate(request)
        body = json.dumps(request).encode()
    return Parsed(body, request.get("stream") is True)


def _chat(request: dict[str, Any]) -> None:
    """Write a request for chat completions as MLflow accepts it."""
    if "max_completion_tokens" in request:
        request.setdefault("max_tokens", request.pop("max_completion_tokens"))
    if isinstance(request.get("stop"), str):
        request["stop"] = [request["stop"]]
    messages = request.get("messages")
    for message in messages if isinstance(messages, list) else ():
        text = _joined(message.get("content")) if isinstance(message, dict) else None
        if text is not None:
            message["content"] = text


def _joined(content: Any) -> str | None:
    """Return the text of a list of text parts, or None for any other content."""
    if not isinstance(content, list) or not content:
        return None
    if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return None
    texts = [part.get("text") for part in content]
    return "".join(texts) if all(isinstance(text, str) for text in texts) else None


def _responses(request: dict[str, Any]) -> None:
    """Write a request for a response as MLflow accepts it."""
    if isinstance(request.get("input"), str):
        request["input"] = [{"role": "user", "content": request["input"]}]
    if isinstance(request.get("input"), list) and isinstance(request.get("instructions"), str):
        request["input"].insert(0, {"role": "system", "content": request.pop("instructions")})


_TRANSLATIONS: dict[str, Callable[[dict[str, Any]], None]] = {CHAT: _chat, RESPONSES: _responses}
