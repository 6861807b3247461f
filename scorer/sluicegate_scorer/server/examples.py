"""The model's input example as the body of a request."""

import logging
from pathlib import Path
from typing import Any

from sluicegate_scorer.errors import first_line

log = logging.getLogger("sluicegate_scorer.serve")

_SERVING_EXAMPLE = "serving_input_example.json"
_EXAMPLE = "input_example.json"
_LARGEST = 4 << 20


def example(directory: Path, metadata: Any) -> bytes | None:
    """Return the input example as a body of type application/json.

    MLflow writes such a body with the model. Versions before 2.11 wrote only the example's data, of which MLflow's own
    code makes the body.

    Args:
        directory: the model's folder.
        metadata: MLflow's metadata of the model.

    Returns:
        The body, or None if the model has no example, or only one that is very large or not readable.
    """
    body = _read(directory / _SERVING_EXAMPLE)
    if body is not None:
        return body
    try:
        if (directory / _EXAMPLE).stat().st_size > _LARGEST:
            return None
        return _converted(directory, metadata)
    except OSError:
        return None
    except Exception as error:  # any library may fail on a file that any version of it wrote
        log.warning("cannot read the model's %s: %s", _EXAMPLE, first_line(error, 400))
        return None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.stat().st_size <= _LARGEST else None
    except OSError:
        return None


def _converted(directory: Path, metadata: Any) -> bytes | None:
    from mlflow.models import convert_input_example_to_serving_input

    data = metadata.load_input_example(str(directory))
    params = metadata.load_input_example_params(str(directory))
    text = convert_input_example_to_serving_input((data, params) if params else data)
    return text.encode() if text is not None else None
