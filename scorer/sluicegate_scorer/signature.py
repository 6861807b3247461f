"""A model's signature, short enough for a termination message.

The operator compares it with the signature of the model version that serves.
"""

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

LONGEST = 3600
"""Maximum characters: what the kubelet's limit of 4,096 bytes leaves beside the digest."""


def described(model: Path) -> str | None:
    """Return the signature of the model in a directory.

    Returns:
        `z:` and the base64 of the zlib-compressed JSON `{"inputs": [...], "outputs": [...], "params": [...]}`, with the
        content of MLflow's schemas. From about 400 columns on, it is `sha256:` and the digest of the JSON, which only
        shows whether two signatures are the same. None if the model has no signature, or no MLmodel file that can be
        read.
    """
    import yaml

    try:
        with (model / "MLmodel").open(encoding="utf-8") as file:
            signature = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader)).get("signature")
        if not signature:
            return None
        schemas = {part: _schema(signature.get(part)) for part in ("inputs", "outputs", "params")}
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return None  # the server reports what is wrong with the file
    text = json.dumps(schemas, sort_keys=True, separators=(",", ":")).encode()
    packed = "z:" + base64.b64encode(zlib.compress(text, 9)).decode()
    return packed if len(packed) <= LONGEST else "sha256:" + hashlib.sha256(text).hexdigest()


def _schema(text: str | None) -> Any:
    return json.loads(text) if text else None
