"""Credentials go only to the tracking server, to hosts of a known store, and to allowed hosts."""

import http.server
import threading

import pytest
from sluicegate_scorer.errors import ScorerError
from sluicegate_scorer.sources import credential_hosts
from sluicegate_scorer.sources.azure import AzureSource

BASIC = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "hunter2"}
BEARER = {"MLFLOW_TRACKING_TOKEN": "hunter2"}
ACCOUNT = {"token": "hunter2", "namespace": "ml"}
WEB = {"SLUICEGATE_HTTP_TOKEN": "hunter2"}
SAS = {"AZURE_STORAGE_SAS_TOKEN": "sv=2021-12-02&sig=hunter2"}
KEY = {"AZURE_STORAGE_ACCESS_KEY": "aHVudGVyMg=="}


@pytest.fixture
def other():
    """Run a server that records what it receives, and that requires a login."""
    received = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            received.append(f"{self.path} {self.headers}")
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, received
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("form", "env"),
    [
        ("mlflow-artifacts://127.0.0.1:{}/m", BASIC),
        ("mlflow-artifacts://127.0.0.1:{}/m", BEARER),
        ("mlflow-artifacts://127.0.0.1:{}/m", ACCOUNT),
        ("http://127.0.0.1:{}/m", WEB),
        ("http://mlflow.example.com@127.0.0.1:{}/m", WEB),
    ],
)
def test_sends_nothing_to_a_host_that_a_uri_names(other, scorer, tmp_path, form, env):
    port, received = other
    env = {**env, "MLFLOW_TRACKING_URI": "http://mlflow.example.com:5000"}
    done = scorer("fetch", form.format(port), tmp_path / "m", **env)
    assert done.returncode == 1
    assert len(received) == 1
    assert "Authorization" not in received[0]
    assert "hunter2" not in received[0]
    assert "No credentials were sent, because 127.0.0.1 is neither" in done.termination_message
    assert "credentialHosts" in done.termination_message


@pytest.mark.parametrize("variable", ["SLUICEGATE_CREDENTIAL_HOSTS", "MLFLOW_TRACKING_URI"])
@pytest.mark.parametrize(
    ("form", "env"), [("mlflow-artifacts://127.0.0.1:{}/m", BASIC), ("http://127.0.0.1:{}/m", WEB)]
)
def test_sends_credentials_to_allowed_hosts(other, scorer, tmp_path, variable, form, env):
    port, received = other
    value = "a.example.com, 127.0.0.1" if variable.startswith("SLUICEGATE") else f"http://127.0.0.1:{port}"
    done = scorer(
        "fetch",
        form.format(port),
        tmp_path / "m",
        **{"MLFLOW_TRACKING_URI": "http://mlflow.example.com:5000", **env, variable: value},
    )
    assert "Authorization" in received[0]
    assert "No credentials were sent" not in done.termination_message


@pytest.mark.parametrize("env", [SAS, KEY, {}])
@pytest.mark.parametrize(
    "host",
    [
        "real.example.com",
        "real.blob.core.windows.net.example.com",
        "blob.core.windows.net",
        "real.blob.core.windows.net@example.com",
        "realblob.core.windows.net",
    ],
)
def test_refuses_azure_credentials_for_other_hosts(monkeypatch, host, env):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ScorerError, match=r"refused to send Azure credentials to .*add .* to credentialHosts"):
        AzureSource.from_environment(f"abfss://models@{host}/m")


@pytest.mark.parametrize(
    ("host", "env"),
    [
        ("real.blob.core.windows.net", {}),
        ("real.dfs.core.windows.net", {}),
        ("real.privatelink.blob.core.windows.net", {}),
        ("real.z01.blob.storage.azure.net", {}),
        ("REAL.blob.core.usgovcloudapi.net", {}),
        ("real.dfs.core.chinacloudapi.cn", {}),
        ("onelake.dfs.fabric.microsoft.com", {}),
        ("real.blob.local.azurestack.external", {"SLUICEGATE_CREDENTIAL_HOSTS": "*.local.azurestack.external"}),
        (
            "real.blob.local.azurestack.external",
            {"AZURE_STORAGE_CONNECTION_STRING": "EndpointSuffix=local.azurestack.external"},
        ),
        (
            "real.blob.core.windows.net",
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=real;BlobEndpoint=http://127.0.0.1:10000/real"},
        ),
    ],
)
def test_accepts_the_hosts_of_azure_storage(monkeypatch, host, env):
    for name, value in {**SAS, **env}.items():
        monkeypatch.setenv(name, value)
    AzureSource.from_environment(f"wasbs://models@{host}/m")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example.com/x", True),
        ("https://A.Example.com.:8443/x", True),
        ("https://b.stores.example.com/", True),
        ("https://stores.example.com/", False),
        ("https://evilstores.example.com/", False),
        ("https://a.example.com.evil.com/", False),
        ("https://a.example.com@evil.com/", False),
        ("https://mlflow.example.com/", True),
        ("https://mlflow.example.com:444/", False),
        ("http://mlflow.example.com/", False),
    ],
)
def test_compares_the_host_that_the_client_connects_to(monkeypatch, url, expected):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.com")
    monkeypatch.setenv("SLUICEGATE_CREDENTIAL_HOSTS", "a.example.com,*.stores.example.com,*.")
    assert credential_hosts.allowed(url) is expected


def test_invalid_host_is_an_error_for_the_user():
    with pytest.raises(ScorerError, match="Correct the model's URI"):
        credential_hosts.allowed("https://exa mple.com:x/")
