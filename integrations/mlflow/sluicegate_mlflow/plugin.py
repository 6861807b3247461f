"""What MLflow loads: the client of the target `sluicegate`, its help, and running a model locally."""

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
"""Reasons of Ready that pass only when a person acts."""
_ENDPOINTS = "Sluicegate has no endpoints: each deployment has a URL of its own. Leave out the endpoint, and name the deployment by --name."


def target_help() -> str:
    """The text of `mlflow deployments help -t sluicegate`."""
    return """\
Target sluicegate: serve models on Kubernetes by Sluicegate (a ModelDeployment for each deployment).

Target URI: sluicegate:/NAMESPACE, or sluicegate for the namespace of the kubeconfig; sluicegate:/NAMESPACE?context=NAME&kubeconfig=FILE
chooses another cluster.

-C PATH=VALUE sets a field of the ModelDeployment's spec: -C scaling.replicas=2 -C gpu.count=1 -C runtime.image=example/scorer:1
VALUE is true, false, null (removes the field), a number, a JSON or YAML list or object, or a text; a dot in a name is written \\.
-C wait=false      return before the model serves
-C timeout=15m     how long to wait
-C force=true      take over fields that somebody else applies, such as a GitOps tool
`kubectl explain mdep.spec` tells all fields.
"""


def run_local(name: str, model_uri: str, flavor: str | None = None, config: Any = None) -> None:
    """Serves the model on this machine by `mlflow models serve`, until Ctrl-C; `-C port=5001` chooses the port."""
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
    """Turns what goes wrong into what MLflow shows."""
    try:
        yield
    except (Refused, configs.WrongConfig, bodies.WrongInput) as error:
        raise MlflowException(str(error)) from error


class SluicegateClient(BaseDeploymentClient):  # type: ignore[misc]
    """Deployments of one namespace: each is a ModelDeployment of the same name."""

    def __init__(self, target_uri: str) -> None:
        """Reads the kubeconfig; nothing is asked of the cluster yet."""
        super().__init__(target_uri)
        with _told():
            self._cluster = Cluster(target_uri)

    def create_deployment(
        self, name: str, model_uri: str, flavor: str | None = None, config: Any = None, endpoint: str | None = None
    ) -> dict[str, Any]:
        """Makes a ModelDeployment and waits until it serves."""
        self._check(flavor, endpoint)
        with _told():
            wanted = configs.read(config)
            if self._cluster.get(name) is not None:
                raise Refused(
                    f"{self._title(name)} exists already: change it by `mlflow deployments update`, or choose another name"
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
        """Changes what is given and keeps the rest, and waits until it serves."""
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
        """Deletes the ModelDeployment and all that belongs to it; one that is gone already is no error."""
        self._check(None, endpoint)
        with _told():
            self._cluster.delete(name)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Every ModelDeployment of the namespace, however it was made."""
        self._check(None, endpoint)
        with _told():
            return [_described(each) for each in self._cluster.list()]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """What one deployment serves, and why it is not ready if it is not."""
        self._check(None, endpoint)
        with _told():
            return _described(self._required(name))

    def predict(self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None) -> Any:
        """Predictions from the deployment's URL, or through the API server where it has none."""
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
        """Not there: the protocol has whole answers only."""
        raise MlflowException("Sluicegate does not stream predictions: use predict")

    def create_endpoint(self, name: str, config: Any = None) -> dict[str, Any]:
        """Refused: there are no endpoints."""
        raise MlflowException(_ENDPOINTS)

    def update_endpoint(self, endpoint: str, config: Any = None) -> None:
        """Refused: there are no endpoints."""
        raise MlflowException(_ENDPOINTS)

    def delete_endpoint(self, endpoint: str) -> None:
        """Refused: there are no endpoints."""
        raise MlflowException(_ENDPOINTS)

    def list_endpoints(self) -> list[dict[str, Any]]:
        """Refused: there are no endpoints."""
        raise MlflowException(_ENDPOINTS)

    def get_endpoint(self, endpoint: str) -> dict[str, Any]:
        """Refused: there are no endpoints."""
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
        """What was applied, once it serves if that is waited for."""
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
    """(whether this generation serves, why not, whether waiting is of no use)."""
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
