"""A registry that requires credentials.

It is a real MLflow server behind a proxy that knows its users.
MLflow's own `--app-name basic-auth` needs packages that the image does not have.
The proxy responds as that app does. It returns 401 without a valid user and password, and 403 to a user without
permissions.
For all other users it returns MLflow's own response.
Below /portal the proxy acts as a login page that returns HTML for every path.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from e2e.support.kube import wait_until
from e2e.support.workspace import Workspace

READER, GUEST = "reader", "guest"
SERVER = """\
import base64, http.client, http.server, json, os

USERS = json.loads(os.environ["USERS"])

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def answer(self, status, body, kind="text/html"):
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="mlflow"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/portal"):
            return self.answer(200, b"<!doctype html><title>Log in</title>")
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(value).decode().partition(":")
        if kind != "Basic" or user not in USERS or USERS[user] != password:
            return self.answer(401, b"You are not authenticated.")
        if user == "guest":
            return self.answer(403, b"Permission denied")
        upstream = http.client.HTTPConnection("mlflow.mlflow.svc", 5000, timeout=20)
        kept = {name: self.headers[name] for name in ("Accept", "Content-Type", "Range") if name in self.headers}
        upstream.request(self.command, self.path, content or None, kept)
        found = upstream.getresponse()
        self.answer(found.status, found.read(), found.headers.get("Content-Type", "application/octet-stream"))
        upstream.close()

    do_POST = do_GET

http.server.ThreadingHTTPServer(("", 5000), Handler).serve_forever()
"""


class Gate:
    """The proxy in a namespace, its users, and Secrets with their credentials."""

    def __init__(self, space: Workspace) -> None:
        self.url = f"http://registry.{space.namespace}.svc:5000"
        self.passwords = {user: f"pw-{user}-{secrets.token_hex(12)}" for user in (READER, GUEST, "wrong")}
        """Passwords by user. They must appear nowhere but in Secrets."""
        self._space = space

    def start(self) -> None:
        """Start the proxy, and wait until its pod is ready."""
        self.secret("registry-users", {"users": json.dumps(self.passwords)})
        labels = {"app": "registry"}
        secret = {"secretKeyRef": {"name": "registry-users", "key": "users"}}
        container = {
            "name": "registry",
            "image": "localhost/sluicegate-scorer:dev",
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-c", SERVER],
            "env": [{"name": "USERS", "valueFrom": secret}],
            "readinessProbe": {"httpGet": {"path": "/portal", "port": 5000}, "periodSeconds": 1},
        }
        pod = {
            "metadata": {"name": "registry", "labels": labels},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        }
        service = {"metadata": {"name": "registry"}, "spec": {"selector": labels, "ports": [{"port": 5000}]}}
        base = f"/api/v1/namespaces/{self._space.namespace}"
        self._space.kube.call("POST", f"{base}/services", service)
        self._space.kube.call("POST", f"{base}/pods", pod)
        wait_until("the registry that wants credentials", self._ready, 60)

    def _ready(self) -> bool:
        status = (self._space.get("pod", "registry") or {}).get("status") or {}
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in status.get("conditions") or ()
        )

    def secret(self, name: str, values: dict[str, str]) -> None:
        """Create a Secret, or replace the content of an existing one."""
        metadata = {"name": name, "namespace": self._space.namespace}
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}
        self._space.kube.apply("secret", manifest)

    def login(self, name: str, user: str, password: str) -> None:
        """Create a Secret with a user's name and a password under MLflow's own keys."""
        self.secret(name, {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": self.passwords[password]})

    def registry(self, secret: str | None, path: str = "") -> dict[str, Any]:
        """Return `inlineRegistry` for this server."""
        reference = {"secretRef": {"name": secret}} if secret is not None else {}
        return {"trackingUri": self.url + path, **reference}

    def let_operator_read(self, *names: str) -> None:
        """Let the operator read these Secrets, with the Role of docs/guide/models.md."""
        metadata = {"name": "sluicegate-registry", "namespace": self._space.namespace}
        rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": list(names), "verbs": ["get"]}
        account = {"kind": "ServiceAccount", "name": "sluicegate", "namespace": "sluicegate-system"}
        group = "rbac.authorization.k8s.io"
        role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}
        binding = {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "subjects": [account],
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "sluicegate-registry"},
        }
        for each in (role, binding):
            self._space.cluster.kubectl("apply", "-f", "-", input=json.dumps(each))
