"""A real rollback sends the notifications that the platform team configured.

One goes to a service as JSON, the other to a chat whose URL is in a Secret.
"""

import http.server
import json
import threading
from contextlib import contextmanager

import pytest

from e2e.support import rollouts
from e2e.support.kube import wait_until
from e2e.support.rollouts import FIRST, MODEL_ERROR, RAISES, uri
from tools.demo import install

pytestmark = [pytest.mark.timeout(600, func_only=True), pytest.mark.usefixtures("odd_versions", "helm")]
OWN = "sluicegate-system"
ERRORS = {"name": "errors", "type": "ErrorRate", "errorClasses": ["model"], "limit": 0.05, "minSamples": 20}


@contextmanager
def receiver(address):
    """Run a web server on the host that the node's pods can reach.

    Yields:
        Its URL, and the list of (path, body) of every request.
    """
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_port}", got
    finally:
        server.shutdown()
        server.server_close()


def test_a_rollback_is_told_to_a_service_and_to_a_chat(operator, workspace, load):
    cluster, kube = workspace.cluster, workspace.kube
    with receiver(cluster.spec.host_ip) as (url, got):
        secret = {"metadata": {"name": "chat"}, "stringData": {"url": f"{url}/chat/hush-hush"}}
        kube.call("POST", f"/api/v1/namespaces/{OWN}/secrets", secret)
        told = {
            "audit": {"url": f"{url}/audit", "namespaces": [workspace.namespace]},
            "ops": {"secret": "chat", "format": "Slack", "events": ["RolledBack"]},
        }
        settings = {"clusterName": "lab", "notifications": told}
        options = [f"settings.{name}={json.dumps(value)}" for name, value in settings.items()]
        install.install_operator(cluster, *(word for option in options for word in ("--set-json", option)))
        operator.wait_leading()
        rollout = {
            "steps": [{"weight": 50, "hold": "10m"}],
            "analysis": rollouts.analysis(ERRORS),
            "scaleDownDelay": "3s",
        }
        workspace.apply("shop", model=uri(FIRST), rollout=rollout)
        workspace.wait_ready("shop")
        with load("shop", own=MODEL_ERROR) as steady:
            workspace.apply("shop", model=uri(RAISES), rollout=rollout)
            taken = rollouts.wait_back(workspace)
            wait_until("both to be told", lambda: {path for path, _ in got} >= {"/audit", "/chat/hush-hush"}, 60)
            rollouts.check_left_alone(workspace, steady, workspace.stable("shop"), FIRST)
        steady.check()
        kube.call("DELETE", f"/api/v1/namespaces/{OWN}/secrets/chat")
    print(json.dumps(got, indent=1), flush=True)
    heard = [body for path, body in got if path == "/audit" and body["event"] == "RolledBack"]
    assert len(heard) == 1, "once"
    assert (heard[0]["cluster"], heard[0]["namespace"], heard[0]["name"]) == ("lab", workspace.namespace, "shop")
    assert heard[0]["verdict"]["metric"] == "errors"
    assert heard[0]["verdict"]["message"] == taken["analysis"]["message"]
    chat = [body["text"] for path, body in got if path == "/chat/hush-hush"]
    assert len(chat) == 1 and "shop" in chat[0] and taken["analysis"]["message"] in chat[0]
    assert "hush-hush" not in cluster.kubectl("-n", OWN, "logs", "-l", "app.kubernetes.io/name=sluicegate", "--tail=-1")
