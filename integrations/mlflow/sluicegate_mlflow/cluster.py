"""The few requests that the plugin sends to the API server.

The package `kubernetes` reads the kubeconfig, logs in and provides a connection pool.
The plugin sends plain HTTP requests over this pool, because the package's typed calls differ between versions.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import urllib3
from kubernetes import client, config

MANAGER = "sluicegate-mlflow"
"""Field manager of the fields that the plugin applies."""
_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_COLLECTION = "/apis/sluicegate.dev/v1alpha1/namespaces/{}/modeldeployments"


class Refused(Exception):
    """A request failed, or the API server rejected it. The text is the message for the user."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Cluster:
    """The namespace of the cluster that a target URI names."""

    def __init__(self, target_uri: str) -> None:
        """Parse the target URI and load the kubeconfig.

        Args:
            target_uri: `sluicegate` or `sluicegate:/NAMESPACE`, optionally with `?context=NAME&kubeconfig=FILE`

        Raises:
            Refused: the URI has another form, or the kubeconfig cannot be used.
        """
        parts = urlsplit(target_uri)
        options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        place = parts.path.strip("/") if parts.scheme else ""
        if parts.netloc or "/" in place or set(options) - {"context", "kubeconfig"}:
            raise Refused(
                f"target {target_uri} is invalid: use sluicegate:/NAMESPACE, optionally with "
                "?context=NAME&kubeconfig=FILE"
            )
        self._settings, current = _configuration(options.get("kubeconfig"), options.get("context"))
        self.namespace = place or current
        self._path = _COLLECTION.format(quote(self.namespace, safe=""))
        self._pool = client.ApiClient(self._settings).rest_client.pool_manager

    def get(self, name: str) -> dict[str, Any] | None:
        """Return the ModelDeployment `name`, or None if it does not exist.

        Raises:
            Refused: the request failed, or ModelDeployments are not installed in the cluster.
        """
        try:
            return self._json("GET", self._one(name))
        except Refused as error:
            if error.status != 404:
                raise
        self.list()  # raises if the CRD is not installed
        return None

    def list(self) -> list[dict[str, Any]]:
        """Return all ModelDeployments of the namespace.

        Raises:
            Refused: the request failed, or ModelDeployments are not installed in the cluster.
        """
        try:
            return list(self._json("GET", self._path)["items"])
        except Refused as error:
            if error.status != 404:
                raise
            raise Refused(
                "the CRD modeldeployments.sluicegate.dev does not exist in this cluster: install Sluicegate", 404
            ) from error

    def apply(self, name: str, spec: dict[str, Any], *, force: bool) -> dict[str, Any]:
        """Apply `spec` as the plugin's field manager.

        Args:
            name: name of the ModelDeployment
            spec: all fields that the plugin is to own; it gives up any others
            force: take over fields of other managers

        Raises:
            Refused: the request failed, or, without `force`, another manager owns a field. The message names the field.
        """
        body = {
            "apiVersion": "sluicegate.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }
        query = urlencode({"fieldManager": MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"})
        return self._json("PATCH", f"{self._one(name)}?{query}", body, "application/apply-patch+yaml")

    def delete(self, name: str) -> bool:
        """Delete the ModelDeployment `name`, and return False if it does not exist."""
        try:
            self._json("DELETE", self._one(name))
        except Refused as error:
            if error.status != 404:
                raise
            return False
        return True

    def post_to_service(self, name: str, path: str, body: str, seconds: float) -> tuple[int, bytes]:
        """Post JSON to the Service of a ModelDeployment through the API server's proxy.

        Args:
            name: name of the ModelDeployment
            path: path on the Service
            body: the JSON text
            seconds: read timeout

        Returns:
            The status code and the body of the response.
        """
        namespace = quote(self.namespace, safe="")
        proxied = f"/api/v1/namespaces/{namespace}/services/{quote(name, safe='')}:80/proxy{path}"
        return self._send("POST", proxied, body.encode(), "application/json", seconds)

    def _one(self, name: str) -> str:
        if not name:
            raise Refused("the name of the deployment is empty: set it with --name")
        return f"{self._path}/{quote(name, safe='')}"

    def _json(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> dict[str, Any]:
        content = json.dumps(body).encode() if body is not None else None
        status, response = self._send(method, path, content, kind)
        try:
            parsed: dict[str, Any] = json.loads(response)
        except ValueError:
            parsed = {"message": response.decode("utf-8", "replace")[:300]}
        if status >= 300:
            raise Refused(str(parsed.get("message") or f"the API server responded with status {status}"), status)
        return parsed

    def _send(self, method: str, path: str, body: bytes | None, kind: str, seconds: float = 30.0) -> tuple[int, bytes]:
        headers = {"Accept": "application/json", "Content-Type": kind, "User-Agent": MANAGER}
        headers |= {auth["key"]: auth["value"] for auth in self._settings.auth_settings().values() if auth["value"]}
        url = f"{self._settings.host.rstrip('/')}{path}"
        try:
            response = self._pool.request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=5.0, read=seconds),
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Refused(f"the API server {self._settings.host} is not reachable: {error}") from error
        return int(response.status), bytes(response.data)


def _configuration(kubeconfig: str | None, context: str | None) -> tuple[Any, str]:
    """Return the client configuration of `kubernetes`, and the default namespace.

    Args:
        kubeconfig: path of the kubeconfig; None means KUBECONFIG, then the pod's service account, then ~/.kube/config
        context: name of the context; None means the current one
    """
    settings = client.Configuration()
    source = kubeconfig or os.environ.get("KUBECONFIG")
    try:
        if source is None and (_IN_CLUSTER / "token").is_file():
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            return settings, (_IN_CLUSTER / "namespace").read_text(encoding="utf-8").strip() or "default"
        config.load_kube_config(source, context, settings, persist_config=False)  # type: ignore[no-untyped-call]
        contexts, current = config.list_kube_config_contexts(source)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError, ValueError, KeyError) as error:
        raise Refused(f"the kubeconfig {source or '~/.kube/config'} is not usable: {error}") from error
    selected = next((entry for entry in contexts if entry["name"] == context), None) if context else current
    return settings, str(((selected or {}).get("context") or {}).get("namespace") or "default")
