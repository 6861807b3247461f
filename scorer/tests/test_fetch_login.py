"""Client certificates and service-account tokens as a pod gets them.

The keys of a Secret are environment variables.
"""

import json
import ssl
from pathlib import Path

import pytest

from tools.localcluster.pki import Pki

from .conftest import proxy_at

URI = "mlflow-artifacts:/root"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = Pki(tmp_path_factory.mktemp("pki"))
    for authority in ("ca", "other"):
        made.authority(authority)
    made.issue("server", "/CN=127.0.0.1", names="IP:127.0.0.1")
    made.issue("pod", "/CN=pod")
    made.issue("stranger", "/CN=stranger", authority="other")
    return made


@pytest.fixture
def demanding(pki):
    """Run a proxy that requires a certificate issued by `ca`, and yield its URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki.crt("ca"))
    context.load_cert_chain(pki.crt("server"), pki.key("server"))
    context.verify_mode = ssl.CERT_REQUIRED
    with proxy_at(tls=context) as proxy:
        yield f"https://127.0.0.1:{proxy.server.server_port}"


def secret(pki, name):
    files = {"tls.crt": pki.crt(name), "tls.key": pki.key(name), "ca.crt": pki.crt("ca")}
    return {key: Path(path).read_text() for key, path in files.items()}


def test_logs_in_with_the_keys_of_a_tls_secret(demanding, pki, scorer, tmp_path):
    done = scorer("fetch", URI, tmp_path / "a", MLFLOW_TRACKING_URI=demanding, **secret(pki, "pod"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.termination_message)["files"] == 2
    files = secret(pki, "pod")
    pem = {"MLFLOW_TRACKING_CLIENT_CERT_PEM": files["tls.crt"] + files["tls.key"], "ca.crt": files["ca.crt"]}
    done = scorer("fetch", URI, tmp_path / "b", MLFLOW_TRACKING_URI=demanding, **pem)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("keys", [("tls.crt", "tls.key", "ca.crt"), ("ca.crt",), ("tls.crt", "tls.key")])
def test_failed_login_does_not_print_the_key(demanding, pki, scorer, tmp_path, keys):
    found = {key: value for key, value in secret(pki, "stranger").items() if key in keys}
    done = scorer("fetch", URI, tmp_path / "a", "--timeout", 1, MLFLOW_TRACKING_URI=demanding, **found)
    assert done.returncode != 0
    assert done.termination_message
    secret_line = Path(pki.key("stranger")).read_text().splitlines()[1]
    assert secret_line not in done.stdout + done.stderr + done.termination_message


def test_invalid_certificate_names_its_variables(scorer, tmp_path):
    given = {"tls.crt": "no certificate", "tls.key": "hunter2", "MLFLOW_TRACKING_URI": "https://127.0.0.1:1"}
    done = scorer("fetch", URI, tmp_path / "a", **given)
    assert done.returncode != 0
    assert "tls.crt, tls.key and ca.crt of the Secret" in done.termination_message
    assert "hunter2" not in done.stderr + done.termination_message


def test_service_account_token_logs_in_without_its_ca(proxy, scorer, tmp_path):
    sent = []

    def note(handler, path):
        sent.append(handler.headers.get("Authorization"))
        return False

    proxy.fault = note
    account = {"token": "of-the-account", "namespace": "ml", "ca.crt": "of the API server"}
    done = scorer("fetch", URI, tmp_path / "a", MLFLOW_TRACKING_URI=proxy.url, **account)
    assert done.returncode == 0, done.stderr
    assert set(sent) == {"Bearer of-the-account"}
    assert "of-the-account" not in done.stdout + done.stderr + done.termination_message
