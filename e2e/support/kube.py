"""A small client of the API server, because a kubectl a look would cost more processor time than what it looks at."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]

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
    """The API server's own words, and its code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Kube:
    """One connection a thread; an API server that is away for a while is waited for, as a test of faults needs it."""

    def __init__(self, kubeconfig: Path, patience: float = 60) -> None:
        config = json.loads(kubeconfig.read_text())  # our clusters write JSON, which is YAML too
        server = urllib.parse.urlsplit(config["clusters"][0]["cluster"]["server"])
        self._host, self._port = server.hostname or "", server.port or 443
        self._context = _context(config)
        self._local = threading.local()
        self._open: list[http.client.HTTPSConnection] = []
        self._patience = patience

    def call(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Json:
        """One request.

        Raises:
            Refused: the API server answered with an error.
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
            found: Json = json.loads(text) if text.startswith(b"{") else {"message": text.decode(errors="replace")}
            if code >= 400:
                raise Refused(code, found.get("message", ""))
            return found

    def connection(self, timeout: float) -> http.client.HTTPSConnection:
        """A connection of the caller's own."""
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._context)

    def path(self, kind: str, namespace: str, name: str = "") -> str:
        """Where objects of a kind are."""
        base, _, plural = KINDS[kind].rpartition("/")
        return f"{base}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")

    def _drop(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._open.remove(connection)
        self._local.connection = None

    def close(self) -> None:
        """Closes the connections of all threads."""
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
        """The object, or None where it is not there."""
        try:
            return self.call("GET", self.path(kind, namespace, name))
        except Refused as refused:
            if refused.code == 404:
                return None
            raise

    def leaving(self) -> list[str]:
        """Namespaces that are on their way out: an operator tries in vain to put back what goes first in them."""
        found = self.call("GET", "/api/v1/namespaces")["items"]
        return [each["metadata"]["name"] for each in found if each["metadata"].get("deletionTimestamp")]

    def list(self, kind: str, namespace: str, **labels: str) -> list[Json]:
        """All objects of a kind in a namespace that have these labels; `__` in a name stands for `/`, `_` for `-`."""
        wanted = ",".join(f"{key.replace('__', '/').replace('_', '-')}={value}" for key, value in labels.items())
        query = f"?labelSelector={urllib.parse.quote(wanted)}" if wanted else ""
        return list(self.call("GET", self.path(kind, namespace) + query)["items"])

    def apply(self, kind: str, manifest: Json, manager: str = "e2e") -> Json:
        """Server-side apply: what an earlier call had and this one has not, goes."""
        metadata = manifest["metadata"]
        path = self.path(kind, metadata["namespace"], metadata["name"]) + f"?fieldManager={manager}&force=true"
        return self.call("PATCH", path, manifest, "application/apply-patch+yaml")

    def merge(self, kind: str, name: str, namespace: str, patch: Json) -> Json:
        """JSON merge patch."""
        return self.call("PATCH", self.path(kind, namespace, name), patch, "application/merge-patch+json")

    def delete(self, kind: str, name: str, namespace: str) -> None:
        """Deletes an object, in the background; one that is not there is fine."""
        try:
            self.call("DELETE", self.path(kind, namespace, name) + "?propagationPolicy=Background")
        except Refused as refused:
            if refused.code != 404:
                raise


def wait_until(what: str, check: Callable[[], Any], timeout: float = 60, every: float = 0.1) -> Any:
    """Looks again and again until the check gives something true, and gives that back; AssertionError when it never does.

    `timeout` is generous: it ends a run that hangs, it never decides between right and wrong.
    """
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
    with tempfile.NamedTemporaryFile() as file:  # made for this user alone; load_cert_chain takes no bytes
        file.write(
            base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"])
        )
        file.flush()
        context.load_cert_chain(file.name)
    return context
