"""Models for tests of the Open Inference Protocol, without a folder and without a server."""

import json
import warnings
from types import SimpleNamespace

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.models import Model
    from sluicegate_scorer.server.general import General
    from sluicegate_scorer.server.settings import Policy
    from sluicegate_scorer.server.v2 import OpenInference


class Served:
    """A model behind both protocols.

    Attributes:
        received: what the model got, one item for each call.
        model: the model, as MLflow loads it.
    """

    def __init__(self, signature, prediction=None):
        """Serve a model.

        Args:
            signature: its signature.
            prediction: what it returns, or a function that makes that of the data.
        """
        self.received = []
        self.prediction = prediction

        def predict(data, params=None):
            self.received.append(data)
            self.params = params
            return self.prediction(data) if callable(self.prediction) else self.prediction

        flavors = {"python_function": {"loader_module": "none"}}
        meta = Model(signature=signature, flavors=flavors)
        self.model = mlflow.pyfunc.PyFuncModel(meta, SimpleNamespace(predict=predict))
        self.general = General(self.model, Policy())
        self.v2 = OpenInference(self.general, "model", "")

    @property
    def metadata(self):
        return json.loads(self.v2.route("GET", "/v2/models/model").body)

    def infer(self, *tensors, raw=b"", **fields):
        """Send tensors, and return the response."""
        body = json.dumps({"inputs": list(tensors), **fields}).encode()
        return self.v2.infer(body + raw, str(len(body)).encode() if raw else None)

    def outputs(self, *tensors, **fields):
        """Return the outputs of a request that has to succeed."""
        response = self.infer(*tensors, **fields)
        assert response.status == 200, response.body
        return json.loads(response.body, parse_constant=_refuse)["outputs"]

    def invocations(self, **fields):
        return self.general.respond(json.dumps(fields).encode(), "application/json")


def tensor(name, datatype, data, shape=None, content=None):
    """Return a tensor as JSON."""
    made = {"name": name, "datatype": datatype, "shape": shape or [len(data), 1], "data": data}
    return made if content is None else {**made, "parameters": {"content_type": content}}


def _refuse(constant):
    raise AssertionError(f"{constant} is not JSON")
