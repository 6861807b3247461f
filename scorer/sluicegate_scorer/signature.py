"""A model's signature, short enough for a termination message: the operator compares it with that of the version that serves."""

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

LONGEST = 3600
"""Characters: what the kubelet's 4,096 bytes leave beside the digest."""


def described(model: Path) -> str | None:
    """The signature of the model in a directory; None where it has none, or no MLmodel file that can be read.

    Returns:
        `z:` and the base64 of the zlib-compressed JSON `{"inputs": [...], "outputs": [...], "params": [...]}`, with what MLflow's
        schemas say; or, from about 400 columns on, `sha256:` and its digest, which only tells whether it is the same.
    """
    import yaml

    try:
        with (model / "MLmodel").open(encoding="utf-8") as file:
            signature = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader)).get("signature")
        if not signature:
            return None
        schemas = {part: _schema(signature.get(part)) for part in ("inputs", "outputs", "params")}
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return None  # what is wrong with the file, the server says
    text = json.dumps(schemas, sort_keys=True, separators=(",", ":")).encode()
    packed = "z:" + base64.b64encode(zlib.compress(text, 9)).decode()
    return packed if len(packed) <= LONGEST else "sha256:" + hashlib.sha256(text).hexdigest()


def _schema(text: str | None) -> Any:
    return json.loads(text) if text else None
