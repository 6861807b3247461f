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


def test_a_real_model_arrives_whole_and_a_second_run_needs_no_server(registry, train, scorer, tmp_path):
    uri = train("fetched")
    model = tmp_path / "model"
    done = scorer("fetch", uri, model, MLFLOW_TRACKING_URI=registry)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.last_words)
    assert json.loads(done.stdout) == report
    files = sorted(p for p in model.rglob("*") if p.is_file() and p.name != ".sluicegate-fetch.json")
    assert {"MLmodel", "model.skops", "serving_input_example.json"} <= {p.name for p in files}
    lines = [f"{p.relative_to(model)} {hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in files]
    assert report["digest"] == "sha256:" + hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    assert report["files"] == len(files)
    assert report["bytes"] == sum(p.stat().st_size for p in files)
    packed = report["signature"].removeprefix("z:")
    told = json.loads(zlib.decompress(base64.b64decode(packed)))
    schemas = Model.load(model).signature
    assert told == {
        "inputs": json.loads(schemas.inputs.to_json()),
        "outputs": json.loads(schemas.outputs.to_json()),
        "params": None,
    }
    again = scorer("fetch", uri, model, MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    assert again.returncode == 0
    assert json.loads(again.last_words) == report


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
def test_a_signature_fits_into_the_last_words_or_only_its_digest_is_told(tmp_path, mlmodel, starts):
    if mlmodel is not None:
        (tmp_path / "MLmodel").write_text(mlmodel)
    told = signature.described(tmp_path)
    assert told is None if starts is None else told.startswith(starts)
    assert len(told or "") <= signature.LONGEST


def test_a_real_server_without_the_artifacts(registry, scorer, tmp_path):
    done = scorer("fetch", "mlflow-artifacts:/no/such", tmp_path / "m", MLFLOW_TRACKING_URI=registry)
    failed(done, "no artifacts at mlflow-artifacts:/no/such")


def test_a_real_server_refusing_our_host_name(registry, scorer, tmp_path):
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
def test_answers_are_worded(proxy, scorer, tmp_path, status, kind, body, expected):
    proxy.fault = lambda handler, path: proxy.answer(handler, status, body, kind)
    failed(fetch(proxy, scorer, tmp_path, "--timeout", 1), expected)


def test_unreachable_servers_are_worded(scorer, tmp_path):
    for folder, url, expected in [
        ("a", "http://someone:hunter2@127.0.0.1:1", "Connection refused"),
        ("b", "http://no-such-host.invalid", "does not exist in the cluster's DNS"),
        ("c", "", "MLFLOW_TRACKING_URI"),
    ]:
        done = scorer("fetch", URI, tmp_path / folder, "--timeout", "1", MLFLOW_TRACKING_URI=url)
        failed(done, expected)
        assert "hunter2" not in done.stderr + done.last_words


def test_a_run_after_a_failed_one_waits_for_the_server_to_come_back(scorer, tmp_path):
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


def test_a_first_run_gives_up_soon_and_a_later_one_has_patience():
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


def test_a_broken_connection_continues_where_it_broke(proxy, scorer, tmp_path):
    cut = []

    def break_off(handler, path):
        if path != "data/model.bin" or len(cut) == 2:
            return False
        cut.append(path)
        if len(cut) == 1:
            return proxy.answer(handler, 503, b"busy", "text/plain")
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
def test_a_listing_cannot_write_outside(proxy, scorer, tmp_path, name):
    proxy.files[name] = b"x"
    failed(fetch(proxy, scorer, tmp_path), "refused the artifact listing")
    assert not (tmp_path / "escape").exists()


def test_a_wrong_size_is_refused(proxy, scorer, tmp_path):
    proxy.sizes["MLmodel"] = 3
    failed(fetch(proxy, scorer, tmp_path), "longer than the 3 bytes")
    assert not (tmp_path / "model" / "MLmodel").exists()


def test_a_truncated_file_is_refused(proxy, scorer, tmp_path):
    proxy.sizes["MLmodel"] = 500
    failed(fetch(proxy, scorer, tmp_path, "--timeout", 1), "bytes")


def test_a_folder_without_mlmodel_is_only_a_warning(proxy, scorer, tmp_path):
    del proxy.files["MLmodel"]
    done = fetch(proxy, scorer, tmp_path)
    assert done.returncode == 0
    assert "no MLmodel file" in done.stderr


def test_a_model_that_does_not_fit_is_refused_before_it_is_downloaded(proxy, scorer, tmp_path):
    proxy.sizes["data/model.bin"] = 1 << 60
    failed(fetch(proxy, scorer, tmp_path), "size limit of the pod's model volume")
    assert not any("model.bin" in path for path, _ in proxy.requests)


def test_a_full_disk_is_worded(monkeypatch, tmp_path):
    import errno

    from sluicegate_scorer.errors import ScorerError
    from sluicegate_scorer.folder import Folder

    with (
        pytest.raises(ScorerError, match="Raise the size limit of the pod's model volume"),
        Folder(tmp_path, URI).disk_errors(),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_directory_with_something_else_is_left_alone(proxy, scorer, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("years of work")
    failed(fetch(proxy, scorer, tmp_path), "thesis.txt")
    assert fetch(proxy, scorer, tmp_path / "other").returncode == 0
    failed(scorer("fetch", URI + "/b", tmp_path / "other/model", MLFLOW_TRACKING_URI=proxy.url), "already holds")


@pytest.mark.parametrize("uri", ["models:/m@champion", "ftp://h/x", "dbfs:/x", "gs:///x", "http:///x", "model"])
def test_other_schemes_are_worded(scorer, tmp_path, uri):
    failed(scorer("fetch", uri, tmp_path / "m"), "cannot fetch")


def fetch(proxy, scorer, tmp_path: Path, *options: object) -> subprocess.CompletedProcess:
    return scorer("fetch", URI, tmp_path / "model", *options, MLFLOW_TRACKING_URI=proxy.url)


def failed(done: subprocess.CompletedProcess, expected: str) -> None:
    assert done.returncode == 1, done.stderr
    assert expected in done.last_words
    assert done.stderr.splitlines()[-1] == done.last_words
    assert "\n" not in done.last_words
    assert "Traceback" not in done.stderr
