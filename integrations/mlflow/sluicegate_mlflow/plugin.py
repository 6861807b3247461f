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

import click
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
_NOT_OBSERVED = (
    "The operator has not observed the resource yet: check that the operator runs and watches this namespace."
)
_ENDPOINTS = (
    "Sluicegate has no endpoints: each deployment has its own URL. Remove the endpoint, and select the deployment with "
    "--name."
)


def target_help() -> str:
    """Return the text of `mlflow deployments help -t sluicegate`."""
    return (
        "Target sluicegate: serve models on Kubernetes with Sluicegate. Each deployment is a ModelDeployment.\n"
        "\n"
        "Target URI: sluicegate:/NAMESPACE, or sluicegate for the namespace of the kubeconfig.\n"
        "sluicegate:/NAMESPACE?context=NAME&kubeconfig=FILE selects another cluster.\n"
        "\n"
        "-C PATH=VALUE sets a field of the ModelDeployment's spec: "
        "-C scaling.replicas=2 -C gpu.count=1 -C runtime.image=example/scorer:1\n"
        "VALUE is true, false, null (removes the field), a number, a JSON or YAML list or object, or a string. "
        "Write a dot in a name as \\.\n"
        "-C wait=false      return before the model serves\n"
        "-C timeout=15m     maximum time to wait\n"
        "-C force=true      take ownership of fields that another client applies, such as a GitOps tool\n"
        "`kubectl explain mdep.spec` describes all fields.\n"
    )


def run_local(name: str, model_uri: str, flavor: str | None = None, config: Any = None) -> None:
    """Serve the model on this machine with `mlflow models serve`, until Ctrl-C.

    `-C port=5001` sets the port (default 5000), and `-C host` sets the address (default 127.0.0.1).
    """
    options = dict(config or {})
    port, host = str(options.pop("port", 5000)), str(options.pop("host", "127.0.0.1"))
    if options:
        raise DeploymentError(f"run-local accepts -C port and -C host, not {', '.join(options)}")
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model_uri, "-h", host, "-p", port]
    done = subprocess.run([*command, "--env-manager", "local"], check=False)
    if done.returncode not in (0, 130):
        raise DeploymentError(f"mlflow models serve ended with exit code {done.returncode}. Its output is above")


class DeploymentError(MlflowException, click.ClickException):  # type: ignore[misc]
    """An error whose message is all that the user needs.

    `mlflow deployments` prints a traceback for a MlflowException, and only the message for an exception of click.
    """

    def __init__(self, message: str) -> None:
        """Create an error with a message for the user."""
        MlflowException.__init__(self, message)


@contextmanager
def _converted_errors() -> Iterator[None]:
    """Convert the plugin's errors to DeploymentError, whose message MLflow's commands show."""
    try:
        yield
    except (Refused, configs.WrongConfig, bodies.WrongInput) as error:
        raise DeploymentError(str(error)) from error


class SluicegateClient(BaseDeploymentClient):  # type: ignore[misc]
    """The deployment client for one namespace.

    Each deployment is a ModelDeployment with the same name.
    """

    def __init__(self, target_uri: str) -> None:
        """Load the kubeconfig, without a request to the cluster."""
        super().__init__(target_uri)
        with _converted_errors():
            self._cluster = Cluster(target_uri)

    def create_deployment(
        self, name: str, model_uri: str, flavor: str | None = None, config: Any = None, endpoint: str | None = None
    ) -> dict[str, Any]:
        """Create a ModelDeployment, and wait until it is ready."""
        self._check(flavor, endpoint)
        with _converted_errors():
            options = configs.read(config)
            if self._cluster.get(name) is not None:
                raise Refused(
                    f"{self._title(name)} exists already: change it with `mlflow deployments update`, "
                    "or use another name"
                )
            spec = configs.changed({"model": {"uri": model_uri}}, options.fields)
            return self._finished(self._cluster.apply(name, spec, force=options.force), options)

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
        with _converted_errors():
            options = configs.read(config)
            live = self._required(name)
            fields = dict(options.fields) | ({("model", "uri"): model_uri} if model_uri else {})
            if not fields:
                raise Refused("the update changes nothing: set a model with -m, or fields with -C")
            spec = configs.changed(configs.owned(live, MANAGER), fields)
            return self._finished(self._cluster.apply(name, spec, force=options.force), options)

    def delete_deployment(self, name: str, config: Any = None, endpoint: str | None = None) -> None:
        """Delete the ModelDeployment and its children.

        It is not an error if the ModelDeployment does not exist.
        """
        self._check(None, endpoint)
        with _converted_errors():
            self._cluster.delete(name)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Return all ModelDeployments of the namespace, also those that the plugin did not create."""
        self._check(None, endpoint)
        with _converted_errors():
            return [_described(live) for live in self._cluster.list()]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Return the model that the deployment serves, its URL, and its condition Ready."""
        self._check(None, endpoint)
        with _converted_errors():
            return _described(self._required(name))

    def predict(self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None) -> Any:
        """Return predictions from the deployment's URL, or through the API server if it has none."""
        self._check(None, endpoint)
        with _converted_errors():
            if deployment_name is None:
                raise Refused("--name is required: it selects the deployment")
            body = bodies.body(inputs)
            url = (self._required(deployment_name).get("status") or {}).get("url")
            if url:
                status, content = _post(f"{url}/invocations", body)
            else:
                status, content = self._cluster.post_to_service(deployment_name, "/invocations", body, _PREDICT_SECONDS)
            text = content.decode("utf-8", "replace")
            if status >= 300:
                raise Refused(f"{self._title(deployment_name)} responded with status {status}: {text[:2000]}")
        return PredictionsResponse.from_json(text)

    def predict_stream(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> Any:
        """Raise MlflowException, because the protocol has no streamed responses."""
        raise DeploymentError("Sluicegate does not stream predictions: use predict")

    def create_endpoint(self, name: str, config: Any = None) -> dict[str, Any]:
        """Raise MlflowException, because Sluicegate has no endpoints."""
        raise DeploymentError(_ENDPOINTS)

    def update_endpoint(self, endpoint: str, config: Any = None) -> None:
        """Raise MlflowException, because Sluicegate has no endpoints."""
        raise DeploymentError(_ENDPOINTS)

    def delete_endpoint(self, endpoint: str) -> None:
        """Raise MlflowException, because Sluicegate has no endpoints."""
        raise DeploymentError(_ENDPOINTS)

    def list_endpoints(self) -> list[dict[str, Any]]:
        """Raise MlflowException, because Sluicegate has no endpoints."""
        raise DeploymentError(_ENDPOINTS)

    def get_endpoint(self, endpoint: str) -> dict[str, Any]:
        """Raise MlflowException, because Sluicegate has no endpoints."""
        raise DeploymentError(_ENDPOINTS)

    def _check(self, flavor: str | None, endpoint: str | None) -> None:
        if endpoint is not None:
            raise DeploymentError(_ENDPOINTS)
        if flavor not in (None, FLAVOR):
            raise DeploymentError(f"flavor {flavor} is not supported, only {FLAVOR}: remove --flavor")

    def _title(self, name: str) -> str:
        return f"ModelDeployment {self._cluster.namespace}/{name}"

    def _required(self, name: str) -> dict[str, Any]:
        live = self._cluster.get(name)
        if live is None:
            raise Refused(
                f"{self._title(name)} does not exist: `mlflow deployments list` shows the existing deployments", 404
            )
        return live

    def _finished(self, applied: dict[str, Any], options: configs.Config) -> dict[str, Any]:
        """Wait until the ModelDeployment is ready, unless `options.wait` is False, and describe it.

        Raises:
            Refused: it does not become ready within `options.timeout`, or cannot become ready without the user.
        """
        name, generation = applied["metadata"]["name"], int(applied["metadata"]["generation"])
        deadline = time.monotonic() + options.timeout
        live = applied
        while options.wait:
            live = self._required(name)
            ready, message, final = readiness(live, generation)
            if ready:
                break
            if final or time.monotonic() >= deadline:
                late = "" if final else f" within {options.timeout:g}s"
                raise Refused(f"{self._title(name)} did not become ready{late}: {message} The resource stays applied.")
            time.sleep(_INTERVAL)
        return _described(live)


def readiness(live: dict[str, Any], generation: int) -> tuple[bool, str, bool]:
    """Read from status whether a ModelDeployment is ready.

    Args:
        live: the ModelDeployment
        generation: the generation that was applied

    Returns:
        Whether this generation is ready, the reason and message of Ready, and whether waiting longer is useless.
    """
    status = live.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    ready = conditions.get("Ready", {})
    if int(status.get("observedGeneration") or 0) < generation:
        return False, _NOT_OBSERVED, False
    message = f"{ready.get('reason')}: {ready.get('message')}"
    stalled = conditions.get("Stalled", {}).get("status") == "True"
    return ready.get("status") == "True", message, stalled or ready.get("reason") in _HELD


def _described(live: dict[str, Any]) -> dict[str, Any]:
    status = live.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    ready, model = conditions.get("Ready", {}), status.get("model") or {}
    return {
        "name": live["metadata"]["name"],
        "flavor": FLAVOR,
        "namespace": live["metadata"]["namespace"],
        "model_uri": live["spec"]["model"]["uri"],
        "model": model.get("name"),
        "version": model.get("version"),
        "ready": ready.get("status", "Unknown"),
        "reason": ready.get("reason", "NotObserved"),
        "message": ready.get("message"),
        "url": status.get("url"),
        "address": status.get("address"),
    }


def _post(url: str, body: str) -> tuple[int, bytes]:
    try:
        response = requests.post(
            url, data=body.encode(), headers={"Content-Type": "application/json"}, timeout=_PREDICT_SECONDS
        )
    except requests.RequestException as error:
        raise Refused(f"{url} is not reachable: {error}") from error
    return response.status_code, response.content
