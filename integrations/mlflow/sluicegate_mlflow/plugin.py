"""The module that MLflow loads for the target `sluicegate`.

It contains the deployment client, the help text, and the command that runs a model locally.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException

from sluicegate_mlflow import config as configs
from sluicegate_mlflow import inputs as bodies
from sluicegate_mlflow.cluster import MANAGER, Cluster, Refused

FLAVOR = "python_function"
_INTERVAL = 1.0
_PREDICT_SECONDS = 60.0
_HELD = ("Pinned", "Paused", "Aborted")
"""Reasons of the condition Ready that last until the user acts."""
_ENDPOINTS = (
    "Sluicegate has no endpoints: each deployment has a URL of its own. "
    "Leave out the endpoint, and name the deployment by --name."
)


def target_help() -> str:
    """Return the text of `mlflow deployments help -t sluicegate`."""
    return (
        "Target sluicegate: serve models on Kubernetes by Sluicegate (a ModelDeployment for each deployment).\n"
        "\n"
        "Target URI: sluicegate:/NAMESPACE, or sluicegate for the namespace of the kubeconfig; "
        "sluicegate:/NAMESPACE?context=NAME&kubeconfig=FILE\n"
        "chooses another cluster.\n"
        "\n"
        "-C PATH=VALUE sets a field of the ModelDeployment's spec: "
        "-C scaling.replicas=2 -C gpu.count=1 -C runtime.image=example/scorer:1\n"
        "VALUE is true, false, null (removes the field), a number, a JSON or YAML list or object, or a text; "
        "a dot in a name is written \\.\n"
        "-C wait=false      return before the model serves\n"
        "-C timeout=15m     how long to wait\n"
        "-C force=true      take over fields that somebody else applies, such as a GitOps tool\n"
        "`kubectl explain mdep.spec` tells all fields.\n"
    )


def run_local(name: str, model_uri: str, flavor: str | None = None, config: Any = None) -> None:
    """Serve the model on this machine with `mlflow models serve`, until Ctrl-C.

    `-C port=5001` sets the port (default 5000), and `-C host` sets the address (default 127.0.0.1).
    """
    given = dict(config or {})
    port, host = str(given.pop("port", 5000)), str(given.pop("host", "127.0.0.1"))
    if given:
        raise MlflowException(f"run-local takes -C port and -C host, not {', '.join(given)}")
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model_uri, "-h", host, "-p", port]
    done = subprocess.run([*command, "--env-manager", "local"], check=False)
    if done.returncode not in (0, 130):
        raise MlflowException(f"mlflow models serve ended with exit code {done.returncode}; its own words are above")


@contextmanager
def _told() -> Iterator[None]:
    """Convert the plugin's errors to MlflowException, whose message MLflow shows."""
    try:
        yield
    except (Refused, configs.WrongConfig, bodies.WrongInput) as error:
        raise MlflowException(str(error)) from error


class SluicegateClient(BaseDeploymentClient):  # type: ignore[misc]
    """The deployment client for one namespace.

    Each deployment is a ModelDeployment with the same name.
    """

    def __init__(self, target_uri: str) -> None:
        """Load the kubeconfig, without a request to the cluster."""
        super().__init__(target_uri)
        with _told():
            self._cluster = Cluster(target_uri)

    def create_deployment(
        self, name: str, model_uri: str, flavor: str | None = None, config: Any = None, endpoint: str | None = None
    ) -> dict[str, Any]:
        """Create a ModelDeployment, and wait until it is ready."""
        self._check(flavor, endpoint)
        with _told():
            wanted = configs.read(config)
            if self._cluster.get(name) is not None:
                raise Refused(
                    f"{self._title(name)} exists already: change it by `mlflow deployments update`, "
                    "or choose another name"
                )
            spec = configs.changed({"model": {"uri": model_uri}}, wanted.fields)
            made = self._cluster.apply(name, spec, force=wanted.force)
            return self._finished(made, wanted)

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Any = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Change the given fields of a ModelDeployment, and wait until it is ready.

        All other fields keep their values.
        """
        self._check(flavor, endpoint)
        with _told():
            wanted = configs.read(config)
            live = self._required(name)
            fields = dict(wanted.fields) | ({("model", "uri"): model_uri} if model_uri else {})
            if not fields:
                raise Refused("there is nothing to change: give a model by -m, or fields by -C")
            spec = configs.changed(configs.owned(live, MANAGER), fields)
            return self._finished(self._cluster.apply(name, spec, force=wanted.force), wanted)

    def delete_deployment(self, name: str, config: Any = None, endpoint: str | None = None) -> None:
        """Delete the ModelDeployment and its children.

        It is not an error if the ModelDeployment does not exist.
        """
        self._check(None, endpoint)
        with _told():
            self._cluster.delete(name)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Return all ModelDeployments of the namespace, also those that the plugin did not create."""
        self._check(None, endpoint)
        with _told():
            return [_described(each) for each in self._cluster.list()]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Return the model that the deployment serves, its URL, and its condition Ready."""
        self._check(None, endpoint)
        with _told():
            return _described(self._required(name))

    def predict(self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None) -> Any:
        """Return predictions from the deployment's URL, or through the API server if it has none."""
        self._check(None, endpoint)
        with _told():
            if deployment_name is None:
                raise Refused("name the deployment by --name")
            body = bodies.body(inputs)
            url = (self._required(deployment_name).get("status") or {}).get("url")
            if url:
                status, answer = _post(f"{url}/invocations", body)
            else:
                status, answer = self._cluster.post_to_service(deployment_name, "/invocations", body, _PREDICT_SECONDS)
            text = answer.decode("utf-8", "replace")
            if status >= 300:
                raise Refused(f"{self._title(deployment_name)} answered {status}: {text[:2000]}")
        return PredictionsResponse.from_json(text)

    def predict_stream(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> Any:
        """Raise MlflowException, because the protocol has no streamed responses."""
        raise MlflowException("Sluicegate does not stream predictions: use predict")

    def create_endpoint(self, name: str, config: Any = None) -> dict[str, Any]:
        """Raise MlflowException, because Sluicegate has no endpoints."""
        raise MlflowException(_ENDPOINTS)

    def update_endpoint(self, endpoint: str, config: Any = None) -> None:
        """Raise MlflowException, because Sluicegate has no endpoints."""
        raise MlflowException(_ENDPOINTS)

    def delete_endpoint(self, endpoint: str) -> None:
        """Raise MlflowException, because Sluicegate has no endpoints."""
        raise MlflowException(_ENDPOINTS)

    def list_endpoints(self) -> list[dict[str, Any]]:
        """Raise MlflowException, because Sluicegate has no endpoints."""
        raise MlflowException(_ENDPOINTS)

    def get_endpoint(self, endpoint: str) -> dict[str, Any]:
        """Raise MlflowException, because Sluicegate has no endpoints."""
        raise MlflowException(_ENDPOINTS)

    def _check(self, flavor: str | None, endpoint: str | None) -> None:
        if endpoint is not None:
            raise MlflowException(_ENDPOINTS)
        if flavor not in (None, FLAVOR):
            raise MlflowException(f"models are served by their {FLAVOR} flavor, not by {flavor}: leave out --flavor")

    def _title(self, name: str) -> str:
        return f"ModelDeployment {self._cluster.namespace}/{name}"

    def _required(self, name: str) -> dict[str, Any]:
        found = self._cluster.get(name)
        if found is None:
            raise Refused(f"there is no {self._title(name)}: `mlflow deployments list` shows those that are there", 404)
        return found

    def _finished(self, applied: dict[str, Any], wanted: configs.Config) -> dict[str, Any]:
        """Wait until the ModelDeployment is ready, unless `wanted.wait` is False, and describe it.

        Raises:
            Refused: it does not become ready within `wanted.timeout`, or cannot become ready without the user.
        """
        name, generation = applied["metadata"]["name"], int(applied["metadata"]["generation"])
        deadline = time.monotonic() + wanted.timeout
        live = applied
        while wanted.wait:
            live = self._required(name)
            ready, words, final = verdict(live, generation)
            if ready:
                break
            if final or time.monotonic() >= deadline:
                late = "" if final else f" within {wanted.timeout:g}s"
                raise Refused(
                    f"{self._title(name)} does not serve what was asked for{late}: {words} It is left as it is."
                )
            time.sleep(_INTERVAL)
        return _described(live)


def verdict(live: dict[str, Any], generation: int) -> tuple[bool, str, bool]:
    """Judge the status of a ModelDeployment.

    Args:
        live: the ModelDeployment
        generation: the generation that was applied

    Returns:
        Whether this generation is ready, the reason and message of Ready, and whether it is useless to wait.
    """
    status = live.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    ready = conditions.get("Ready", {})
    if int(status.get("observedGeneration") or 0) < generation:
        return False, "The operator has not seen it yet: check that it runs, and that it serves this namespace.", False
    words = f"{ready.get('reason')}: {ready.get('message')}"
    stalled = conditions.get("Stalled", {}).get("status") == "True"
    return ready.get("status") == "True", words, stalled or ready.get("reason") in _HELD


def _described(live: dict[str, Any]) -> dict[str, Any]:
    status = live.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    ready, model = conditions.get("Ready", {}), status.get("model") or {}
    return {
        "name": live["metadata"]["name"],
        "flavor": FLAVOR,
        "namespace": live["metadata"]["namespace"],
        "model_uri": live["spec"]["model"]["uri"],
        "model": model.get("name"),
        "version": model.get("version"),
        "ready": ready.get("status", "Unknown"),
        "reason": ready.get("reason", "NotSeenYet"),
        "message": ready.get("message"),
        "url": status.get("url"),
        "address": status.get("address"),
    }


def _post(url: str, body: str) -> tuple[int, bytes]:
    try:
        answer = requests.post(
            url, data=body.encode(), headers={"Content-Type": "application/json"}, timeout=_PREDICT_SECONDS
        )
    except requests.RequestException as error:
        raise Refused(f"{url} does not answer: {error}") from error
    return answer.status_code, answer.content
