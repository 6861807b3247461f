"""`sluicegate-scorer fetch` against a real MLflow server and a faulty one.

The faulty server fails in every way for which there is a message.
"""

import base64
import hashlib
import json
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow.models import Model
from sluicegate_scorer import signature
from sluicegate_scorer.errors import TransientError
from sluicegate_scorer.progress import Progress

from .conftest import free_port, proxy_at

URI = "mlflow-artifacts:/root"


def test_fetches_a_model_once(registry, train, scorer, tmp_path):
    uri = train("fetched")
    model = tmp_path / "model"
    done = scorer("fetch", uri, model, MLFLOW_TRACKING_URI=registry)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.termination_message)
    assert json.loads(done.stdout) == report
    files = sorted(p for p in model.rglob("*") if p.is_file() and p.name != ".sluicegate-fetch.json")
    assert {"MLmodel", "model.skops", "serving_input_example.json"} <= {p.name for p in files}
    lines = [f"{p.relative_to(model)} {hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in files]
    assert report["digest"] == "sha256:" + hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    assert report["files"] == len(files)
    assert report["bytes"] == sum(p.stat().st_size for p in files)
    packed = report["signature"].removeprefix("z:")
    unpacked = json.loads(zlib.decompress(base64.b64decode(packed)))
    schemas = Model.load(model).signature
    assert unpacked == {
        "inputs": json.loads(schemas.inputs.to_json()),
        "outputs": json.loads(schemas.outputs.to_json()),
        "params": None,
    }
    again = scorer("fetch", uri, model, MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    assert again.returncode == 0
    assert json.loads(again.termination_message) == report


@pytest.mark.parametrize(
    ("mlmodel", "starts"),
    [
        (
            json.dumps({"signature": {"inputs": json.dumps([{"name": f"{n:x}", "type": "long"} for n in range(300)])}}),
            "z:",
        ),
        (
            json.dumps({"signature": {"inputs": json.dumps([{"name": f"{hash(n) ** 5:x}"} for n in range(9999)])}}),
            "sha256:",
        ),
        (json.dumps({"flavors": {}}), None),
        (json.dumps({"signature": {"inputs": "no JSON"}}), None),
        ("[]", None),
        ("a: b: c", None),
        (None, None),
    ],
)
def test_long_signature_becomes_its_digest(tmp_path, mlmodel, starts):
    if mlmodel is not None:
        (tmp_path / "MLmodel").write_text(mlmodel)
    signature_text = signature.described(tmp_path)
    assert signature_text is None if starts is None else signature_text.startswith(starts)
    assert len(signature_text or "") <= signature.LONGEST


def test_real_server_without_the_artifacts(registry, scorer, tmp_path):
    done = scorer("fetch", "mlflow-artifacts:/no/such", tmp_path / "m", MLFLOW_TRACKING_URI=registry)
    failed(done, "no artifacts at mlflow-artifacts:/no/such")


def test_real_server_that_refuses_the_host_name(registry, scorer, tmp_path):
    # 127.0.0.2 reaches the same server, but is not among the host names that it allows by default.
    url = registry.replace("127.0.0.1", "127.0.0.2")
    done = scorer("fetch", "mlflow-artifacts:/1", tmp_path / "m", MLFLOW_TRACKING_URI=url)
    failed(done, "MLFLOW_SERVER_ALLOWED_HOSTS")


@pytest.mark.parametrize(
    ("status", "kind", "body", "expected"),
    [
        (401, "text/html", b"<html>", "refused the credentials (401)"),
        (403, "application/json", b"{}", "refused the credentials (403)"),
        (403, "text/plain", b"Invalid Host header - possible", "MLFLOW_SERVER_ALLOWED_HOSTS"),
        (404, "text/html", b"<html>", "is not that of an MLflow server"),
        (404, "application/json", b"{}", "no artifacts at"),
        (200, "text/html", b"<html>log in", "text/html instead of JSON"),
        (500, "text/plain", b"boom", "responded with 500"),
        (400, "application/json", b'{"message": "bad path"}', "responded with 400"),
    ],
)
def test_error_response_names_the_fix(proxy, scorer, tmp_path, status, kind, body, expected):
    proxy.fault = lambda handler, path: proxy.respond(handler, status, body, kind)
    failed(fetch(proxy, scorer, tmp_path, "--timeout", 1), expected)


def test_unreachable_server_names_the_cause(scorer, tmp_path):
    for folder, url, expected in [
        ("a", "http://someone:hunter2@127.0.0.1:1", "Connection refused"),
        ("b", "http://no-such-host.invalid", "does not exist in the cluster's DNS"),
        ("c", "", "MLFLOW_TRACKING_URI"),
    ]:
        done = scorer("fetch", URI, tmp_path / folder, "--timeout", "1", MLFLOW_TRACKING_URI=url)
        failed(done, expected)
        assert "hunter2" not in done.stderr + done.termination_message


def test_run_after_a_failure_waits_for_the_server(scorer, tmp_path):
    """Check what happens to a pod that starts while the registry is down.

    The first try reports the reason. The next one waits, and continues without help once the registry is back.
    """
    model, port = tmp_path / "model", free_port()
    where = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    failed(scorer("fetch", URI, model, "--timeout", 1, **where), "cannot connect to")
    with ThreadPoolExecutor() as pool:
        second = pool.submit(scorer, "fetch", URI, model, "--timeout", 1, **where)
        with pytest.raises(TimeoutError):
            second.result(5)
        with proxy_at(port):
            done = second.result(60)
    assert done.returncode == 0, done.stderr
    assert (model / "data/model.bin").is_file()


def test_first_run_gives_up_sooner_than_a_later_one():
    now = 0.0
    unreachable, slow = TransientError("no connection", unreachable=True), TransientError("busy")
    first, again = (Progress(60, hasty, clock=lambda: now) for hasty in (True, False))
    now = 14.0
    assert (first.delay(unreachable, 0), again.delay(unreachable, 0)) == (0.25, 0.25)
    now = 15.0
    assert (first.delay(unreachable, 0), again.delay(unreachable, 0)) == (None, 0.25)
    assert first.delay(slow, 0) == 0.25
    now = 60.0
    assert again.delay(unreachable, 0) is None


def test_resumes_after_a_broken_connection(proxy, scorer, tmp_path):
    cut = []

    def break_off(handler, path):
        if path != "data/model.bin" or len(cut) == 2:
            return False
        cut.append(path)
        if len(cut) == 1:
            return proxy.respond(handler, 503, b"busy", "text/plain")
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(proxy.files[path])))
        handler.end_headers()
        handler.wfile.write(proxy.files[path][: 2 << 20])
        handler.close_connection = True
        return True

    proxy.fault = break_off
    done = fetch(proxy, scorer, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model/data/model.bin").read_bytes() == proxy.files["data/model.bin"]
    assert any(wanted and wanted != "bytes=0-" for _, wanted in proxy.requests)
    assert not list((tmp_path / "model").rglob(".sluicegate-part-*"))


@pytest.mark.parametrize("name", ["../escape", "data/../../escape", "/etc/x", "a\\b"])
def test_refuses_a_path_outside_the_folder(proxy, scorer, tmp_path, name):
    proxy.files[name] = b"x"
    failed(fetch(proxy, scorer, tmp_path), "refused the artifact listing")
    assert not (tmp_path / "escape").exists()


def test_refuses_a_file_longer_than_listed(proxy, scorer, tmp_path):
    proxy.sizes["MLmodel"] = 3
    failed(fetch(proxy, scorer, tmp_path), "longer than the 3 bytes")
    assert not (tmp_path / "model" / "MLmodel").exists()


def test_refuses_a_truncated_file(proxy, scorer, tmp_path):
    proxy.sizes["MLmodel"] = 500
    failed(fetch(proxy, scorer, tmp_path, "--timeout", 1), "bytes")


def test_warns_about_a_folder_without_mlmodel(proxy, scorer, tmp_path):
    del proxy.files["MLmodel"]
    done = fetch(proxy, scorer, tmp_path)
    assert done.returncode == 0
    assert "no MLmodel file" in done.stderr


def test_refuses_a_model_that_does_not_fit_before_the_download(proxy, scorer, tmp_path):
    proxy.sizes["data/model.bin"] = 1 << 60
    failed(fetch(proxy, scorer, tmp_path), "size limit of the pod's model volume")
    assert not any("model.bin" in path for path, _ in proxy.requests)


def test_full_disk_names_the_size_limit(monkeypatch, tmp_path):
    import errno

    from sluicegate_scorer.errors import ScorerError
    from sluicegate_scorer.folder import Folder

    with (
        pytest.raises(ScorerError, match="Raise the size limit of the pod's model volume"),
        Folder(tmp_path, URI).disk_errors(),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_refuses_a_directory_with_other_files(proxy, scorer, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("years of work")
    failed(fetch(proxy, scorer, tmp_path), "thesis.txt")
    assert fetch(proxy, scorer, tmp_path / "other").returncode == 0
    failed(scorer("fetch", URI + "/b", tmp_path / "other/model", MLFLOW_TRACKING_URI=proxy.url), "already holds")


@pytest.mark.parametrize("uri", ["models:/m@champion", "ftp://h/x", "dbfs:/x", "gs:///x", "http:///x", "model"])
def test_refuses_other_schemes(scorer, tmp_path, uri):
    failed(scorer("fetch", uri, tmp_path / "m"), "cannot fetch")


def fetch(proxy, scorer, tmp_path: Path, *options: object) -> subprocess.CompletedProcess:
    return scorer("fetch", URI, tmp_path / "model", *options, MLFLOW_TRACKING_URI=proxy.url)


def failed(done: subprocess.CompletedProcess, expected: str) -> None:
    assert done.returncode == 1, done.stderr
    assert expected in done.termination_message
    assert done.stderr.splitlines()[-1] == done.termination_message
    assert "\n" not in done.termination_message
    assert "Traceback" not in done.stderr
