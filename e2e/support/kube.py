"""A small client of the API server.

Starting kubectl for each query would take more CPU time than the query itself.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]

PATIENCE = float(os.environ.get("SLUICEGATE_PATIENCE", "1"))
"""Factor of all waiting limits. CI sets it, because its machines may be three times slower than a developer's."""

KINDS = {
    "mdep": "/apis/sluicegate.dev/v1alpha1/modeldeployments",
    "deployment": "/apis/apps/v1/deployments",
    "controllerrevision": "/apis/apps/v1/controllerrevisions",
    "service": "/api/v1/services",
    "pod": "/api/v1/pods",
    "secret": "/api/v1/secrets",
    "configmap": "/api/v1/configmaps",
    "event": "/api/v1/events",
    "resourcequota": "/api/v1/resourcequotas",
    "persistentvolumeclaim": "/api/v1/persistentvolumeclaims",
    "endpointslice": "/apis/discovery.k8s.io/v1/endpointslices",
    "hpa": "/apis/autoscaling/v2/horizontalpodautoscalers",
    "pdb": "/apis/policy/v1/poddisruptionbudgets",
    "httproute": "/apis/gateway.networking.k8s.io/v1/httproutes",
    "gateway": "/apis/gateway.networking.k8s.io/v1/gateways",
    "lease": "/apis/coordination.k8s.io/v1/leases",
    "job": "/apis/batch/v1/jobs",
    "replicaset": "/apis/apps/v1/replicasets",
    "application": "/apis/argoproj.io/v1alpha1/applications",
}


class Refused(Exception):
    """An error response of the API server: its message and its code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Kube:
    """A client with one connection per thread.

    It retries while the API server is unavailable, because the fault tests make it unavailable.
    """

    def __init__(self, kubeconfig: Path, patience: float = 60) -> None:
        config = json.loads(kubeconfig.read_text())  # our clusters write JSON, which is also valid YAML
        server = urllib.parse.urlsplit(config["clusters"][0]["cluster"]["server"])
        self._host, self._port = server.hostname or "", server.port or 443
        self._context = _context(config)
        self._local = threading.local()
        self._open: list[http.client.HTTPSConnection] = []
        self._patience = patience

    def call(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Json:
        """Send one request, and return the response.

        Raises:
            Refused: the API server returned an error.
        """
        until = time.monotonic() + self._patience
        while True:
            try:
                code, text = self._once(method, path, None if body is None else json.dumps(body).encode(), content)
            except (OSError, http.client.HTTPException):
                self._drop()
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
                continue
            if code in (429, 500, 503) and time.monotonic() < until:
                time.sleep(0.2)
                continue
            parsed: Json = json.loads(text) if text.startswith(b"{") else {"message": text.decode(errors="replace")}
            if code >= 400:
                raise Refused(code, parsed.get("message", ""))
            return parsed

    def connection(self, timeout: float) -> http.client.HTTPSConnection:
        """Return a new connection that belongs to the caller."""
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._context)

    def path(self, kind: str, namespace: str, name: str = "") -> str:
        """Return the API path of a kind's objects, or of one object."""
        base, _, plural = KINDS[kind].rpartition("/")
        return f"{base}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")

    def _drop(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._open.remove(connection)
        self._local.connection = None

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._open:
            connection.close()
        self._open.clear()

    def _once(self, method: str, path: str, body: bytes | None, content: str) -> tuple[int, bytes]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self.connection(timeout=15)
            self._local.connection = connection
            self._open.append(connection)
        connection.request(method, path, body, {"Content-Type": content, "Accept": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def get(self, kind: str, name: str, namespace: str) -> Json | None:
        """Return the object, or None if it does not exist."""
        try:
            return self.call("GET", self.path(kind, namespace, name))
        except Refused as refused:
            if refused.code == 404:
                return None
            raise

    def leaving(self) -> list[str]:
        """Return the names of the namespaces that are being deleted.

        In such a namespace the operator tries in vain to restore the objects that are deleted first.
        """
        items = self.call("GET", "/api/v1/namespaces")["items"]
        return [each["metadata"]["name"] for each in items if each["metadata"].get("deletionTimestamp")]

    def list(self, kind: str, namespace: str, **labels: str) -> list[Json]:
        """List the objects of a kind in a namespace that have these labels.

        In a label's name, `__` stands for `/` and `_` for `-`.
        """
        wanted = ",".join(f"{key.replace('__', '/').replace('_', '-')}={value}" for key, value in labels.items())
        query = f"?labelSelector={urllib.parse.quote(wanted)}" if wanted else ""
        return list(self.call("GET", self.path(kind, namespace) + query)["items"])

    def apply(self, kind: str, manifest: Json, manager: str = "e2e") -> Json:
        """Apply an object with server-side apply.

        The API server removes fields that an earlier call had and this call does not have.
        """
        metadata = manifest["metadata"]
        path = self.path(kind, metadata["namespace"], metadata["name"]) + f"?fieldManager={manager}&force=true"
        return self.call("PATCH", path, manifest, "application/apply-patch+yaml")

    def merge(self, kind: str, name: str, namespace: str, patch: Json) -> Json:
        """Patch an object with a JSON merge patch."""
        return self.call("PATCH", self.path(kind, namespace, name), patch, "application/merge-patch+json")

    def delete(self, kind: str, name: str, namespace: str) -> None:
        """Delete an object in the background. Ignore an object that does not exist."""
        try:
            self.call("DELETE", self.path(kind, namespace, name) + "?propagationPolicy=Background")
        except Refused as refused:
            if refused.code != 404:
                raise


def wait_until(what: str, check: Callable[[], Any], timeout: float = 60, every: float = 0.1) -> Any:
    """Call `check` until it returns a true value, and return that value.

    `timeout` is generous. It ends a run that hangs, and never decides whether a test passes.
    PATIENCE multiplies it.

    Raises:
        AssertionError: `check` did not return a true value in time.
    """
    timeout *= PATIENCE
    until = time.monotonic() + timeout
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"waited {timeout:.0f} seconds in vain for {what}; last: {found!r}")
        time.sleep(every)


def _context(config: Json) -> ssl.SSLContext:
    user = config["users"][0]["user"]
    authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    with tempfile.NamedTemporaryFile() as file:  # readable by this user alone; load_cert_chain takes no bytes
        file.write(
            base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"])
        )
        file.flush()
        context.load_cert_chain(file.name)
    return context
