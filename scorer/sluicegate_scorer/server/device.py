"""The device on which a model computes.

MLflow's onnx and pytorch flavors choose CUDA themselves if they can. This module logs what they chose. It warns if the
container has a GPU that its model does not use.
"""

import glob
import logging
from typing import Any

log = logging.getLogger("sluicegate_scorer.serve")

CPU = "cpu"
_DEVICES = "/dev/nvidia[0-9]*"
_ADVICE = {
    "mlflow.onnx": "Use an image with onnxruntime-gpu, or log the model with CUDA in onnx_execution_providers",
    "mlflow.pytorch": "Use an image whose torch has CUDA for the node's driver, and do not set "
    "MLFLOW_DEFAULT_PREDICTION_DEVICE to cpu",
}


def of(model: Any) -> str:
    """Return the device of a loaded pyfunc model.

    It is `cpu`, or `cuda` with its number, or the name that the flavor uses.
    """
    inner = getattr(model, "_model_impl", None)
    if model.loader_module == "mlflow.onnx":
        first = inner.rt.get_providers()[0]
        return str(first).removesuffix("ExecutionProvider").lower()
    if model.loader_module == "mlflow.pytorch":
        return str(inner.device)
    return CPU


def describe(model: Any, devices: str = _DEVICES) -> str:
    """Return the device, and log it where it matters.

    Args:
        model: a loaded pyfunc model.
        devices: pattern of the files by which a container sees its GPUs.
    """
    try:
        device = of(model)
    except (AttributeError, IndexError):
        log.debug("the model's device is unknown", exc_info=True)
        return CPU
    if device != CPU:
        log.info("the model runs on %s", device)
    elif model.loader_module in _ADVICE and glob.glob(devices):
        log.warning("the container has a GPU that the model does not use. %s", _ADVICE[model.loader_module])
    return device
