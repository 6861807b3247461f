"""The other flavors of the scoring image.

Each serves a model that was trained in it.

SLUICEGATE_FLAVORS lists the flavors to test. The default is the small one.
`make e2e-flavors` tests all of them, which takes several GB.
"""

import json
import os
import secrets
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from e2e.support.kube import wait_until
from tools.localcluster import images

ROOT = Path(__file__).parents[1]
FLAVORS = os.environ.get("SLUICEGATE_FLAVORS", "onnx").split(",")
TRAIN = {
    "onnx": """\
from onnx import TensorProto, helper
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, size]) for name, size in (("x", 2), ("y", 1)))
weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 1], [2.0, 3.0])
graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "double", [x], [y], [weights])
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
mlflow.onnx.log_model(made, name="model", registered_model_name=model, signature=signature)
""",
    "tensorflow": """\
import keras
made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
made.set_weights([np.array([[2.0], [3.0]], np.float32)])
mlflow.tensorflow.log_model(made, name="model", registered_model_name=model, signature=signature)
""",
    "torch": """\
import torch
made = torch.nn.Linear(2, 1, bias=False)
made.weight.data = torch.tensor([[2.0, 3.0]])
example = np.zeros((2, 2), np.float32)  # which the model is traced with
mlflow.pytorch.log_model(made, name="model", registered_model_name=model, signature=signature, input_example=example)
""",
}
"""Scripts that register the model 2a + 3b, by flavor."""
BEGIN = """\
import os
import mlflow
import numpy as np
from mlflow.models import infer_signature
model = os.environ["MODEL"]
signature = infer_signature(np.zeros((1, 2), np.float32), np.zeros((1, 1), np.float32))
"""


@pytest.mark.timeout(1500, func_only=True)  # the image may have to be built
@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_model_of_the_flavor_is_served_by_its_image(workspace, flavor):
    image = f"localhost/sluicegate-scorer-{flavor}:dev"
    file = ROOT / "images/scorer/Dockerfile"
    workspace.cluster.load_image(images.build(file, ROOT, image, [f"FLAVOR={flavor}"]))
    model = f"{flavor}-{secrets.token_hex(2)}"
    train(workspace, image, flavor, model)

    workspace.apply("shop", model=f"models:/{model}/1", runtime={"name": "mlflow", "image": image})
    status = workspace.wait_ready("shop", timeout=300)
    rows = json.dumps({"inputs": [[1.0, 2.0], [10.0, 0.0]]}).encode()
    asked = Request(f"{status['url']}/invocations", rows, {"Content-Type": "application/json"})
    with urlopen(asked, timeout=30) as answer:
        predictions = json.load(answer)["predictions"]
    assert (predictions["y"] if isinstance(predictions, dict) else predictions) == [[8.0], [20.0]]


def train(workspace, image, flavor, model):
    container = {
        "name": "train",
        "image": image,
        "command": ["python3", "-c", BEGIN + TRAIN[flavor]],
        "env": [
            {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow.mlflow.svc:5000"},
            {"name": "MODEL", "value": model},
        ],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "train", "namespace": workspace.namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    kubectl = workspace.cluster.kubectl
    kubectl("apply", "-f", "-", input=json.dumps(job))
    here, conditions = ("-n", workspace.namespace), "jsonpath={.status.conditions[*].type}"

    def ended():
        found = kubectl(*here, "get", "job", "train", "-o", conditions)
        return found if "Complete" in found or "Failed" in found else None

    until = wait_until("the training to end", ended, 240, every=1)
    assert "Complete" in until, kubectl(*here, "logs", "job/train")
