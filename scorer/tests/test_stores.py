"""`sluicegate-scorer fetch` from other stores.

The stores are emulators of Google's and Azure's stores, and a web server. A relay in front of them injects faults.
"""

import http.server
import io
import json
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from sluicegate_scorer import fetch
from sluicegate_scorer.sources import azure, base

from scorer.tests.stores import ACCOUNT, FILES, KEY, Relay, Store, Web, azurite, free_port, program


@pytest.fixture(scope="module")
def gs(tmp_path_factory):
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [str(Path(sys.executable).parent / "gcp-storage-emulator"), "start", "--host=127.0.0.1", f"--port={port}"]
    log = tmp_path_factory.mktemp("gs") / "log"
    with program([*command, "--in-memory", "--default-bucket=models"], log, f"{url}/storage/v1/b"):
        for name, content in FILES.items():
            kind = {"Content-Type": "multipart/related; boundary=xxx"}
            about = json.dumps({"name": f"a/b/{name}"}).encode()
            parts = [b"application/json\r\n\r\n" + about, b"application/octet-stream\r\n\r\n" + content]
            body = b"".join(b"--xxx\r\nContent-Type: " + part + b"\r\n" for part in parts) + b"--xxx--\r\n"
            target = f"{url}/upload/storage/v1/b/models/o?uploadType=multipart"
            httpx.post(target, content=body, headers=kind).raise_for_status()
        yield url


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    url = f"http://127.0.0.1:{(port := free_port())}"
    log = tmp_path_factory.mktemp("azurite") / "log"
    command = [azurite(), "--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    with program([*command, f"--blobPort={port}"], log, url):
        with httpx.Client(auth=azure.SharedKey(ACCOUNT, KEY)) as client:
            client.put(f"{url}/{ACCOUNT}/models?restype=container").raise_for_status()
            for name, content in FILES.items():
                headers = {"x-ms-blob-type": "BlockBlob"}
                client.put(
                    f"{url}/{ACCOUNT}/models/a/b/{quote(name)}", content=content, headers=headers
                ).raise_for_status()
        yield url


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    for name, content in FILES.items():
        (folder / "a/b" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "a/b" / name).write_bytes(content)
    (folder / "nothing").mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *words: Web(*words, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


STORES = ["gs", "wasbs", "az", "http"]


@pytest.fixture
def store(request):
    kind = request.param
    upstream = request.getfixturevalue({"gs": "gs", "http": "web"}.get(kind, "blobs"))
    relay = Relay(upstream if isinstance(upstream, str) else upstream[0])
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={relay.url}/{ACCOUNT};"
    )
    credentials = {
        "SLUICEGATE_HTTP_USERNAME": "me",
        "SLUICEGATE_HTTP_PASSWORD": "hunter2",
        "SLUICEGATE_CREDENTIAL_HOSTS": "127.0.0.1",
    }
    made = {
        "gs": Store("gs://models/a/b", relay, {"STORAGE_EMULATOR_HOST": relay.url}),
        "wasbs": Store(
            f"wasbs://models@{ACCOUNT}.blob.core.windows.net/a/b",
            relay,
            {"AZURE_STORAGE_CONNECTION_STRING": connection},
        ),
        "az": Store("az://models/a/b", relay, {"AZURE_STORAGE_CONNECTION_STRING": connection}),
        "http": Store(f"{relay.url}/a/b/", relay, credentials, checksums=False),
    }
    yield made[kind]
    relay.server.shutdown()
    relay.server.server_close()


def whole(folder: Path) -> bool:
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    found.pop(".sluicegate-fetch.json")
    return found == FILES


@pytest.mark.parametrize("store", STORES, indirect=True)
def test_fetches_a_folder_once(store, scorer, tmp_path):
    done = scorer("fetch", store.uri, tmp_path / "m", **store.env)
    assert done.returncode == 0, done.stderr
    assert whole(tmp_path / "m")
    report = json.loads(done.termination_message)
    assert (report["files"], report["bytes"]) == (len(FILES), sum(map(len, FILES.values())))
    requests = len(store.relay.seen)
    again = scorer("fetch", store.uri, tmp_path / "m", **store.env)
    assert json.loads(again.termination_message) == report
    assert len(store.relay.seen) == requests


@pytest.mark.parametrize("store", STORES, indirect=True)
def test_resumes_after_a_broken_connection(store, scorer, tmp_path):
    cut = []

    def break_off(path, body):
        if "model.bin" not in path or cut:
            return body
        cut.append(path)
        return body[: 2 << 20]

    store.relay.spoil = break_off
    done = scorer("fetch", store.uri, tmp_path / "m", **store.env)
    assert done.returncode == 0, done.stderr
    assert whole(tmp_path / "m")
    starts = [int(range_[6:-1]) for _, range_ in store.relay.seen if range_]
    assert [start for start in starts if start > 1 << 20]


@pytest.mark.parametrize("store", ["gs", "wasbs"], indirect=True)
def test_fetches_a_large_file_in_ranges(store, monkeypatch, tmp_path):
    monkeypatch.setattr(base, "RANGE", 1 << 20)
    monkeypatch.setattr(base, "MIN_SIZE", 2 << 20)
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    fetch.fetch(store.uri, tmp_path / "m", 60)
    assert whole(tmp_path / "m")
    ranges = sorted(range_ for path, range_ in store.relay.seen if "model.bin" in path)
    assert ranges == ["bytes=0-1048575", "bytes=1048576-2097151", "bytes=2097152-3145727"]


@pytest.mark.parametrize("store", ["gs", "wasbs"], indirect=True)
def test_fetches_a_damaged_file_again(store, scorer, tmp_path):
    damaged = []

    def damage(path, body):
        if "model.bin" not in path or damaged:
            return body
        damaged.append(path)
        return body[:-1] + bytes([body[-1] ^ 1])

    store.relay.spoil = damage
    done = scorer("fetch", store.uri, tmp_path / "m", **store.env)
    assert done.returncode == 0, done.stderr
    assert "does not match the checksum" in done.stderr
    assert whole(tmp_path / "m")


@pytest.mark.parametrize("store", ["gs", "wasbs"], indirect=True)
def test_refuses_a_file_that_stays_damaged(store, scorer, tmp_path):
    store.relay.spoil = lambda path, body: body[::-1] if "model.bin" in path else body
    done = scorer("fetch", store.uri, tmp_path / "m", "--timeout", 1, **store.env)
    refused(done, "does not match the checksum in its listing")
    assert not (tmp_path / "m/data/model.bin").exists()


@pytest.mark.parametrize("store", STORES, indirect=True)
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "refused the credentials"),
        (403, "denied access (403"),
        (404, "Check the"),
        (500, "responded with 500"),
        (400, "responded with 400"),
    ],
)
def test_error_response_of_a_store_names_the_fix(store, scorer, tmp_path, status, expected):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", "5")
        handler.end_headers()
        handler.wfile.write(b"boom\n")
        return True

    store.relay.fault = answer
    refused(scorer("fetch", store.uri, tmp_path / "m", "--timeout", 1, **store.env), expected)


@pytest.mark.parametrize(("kind", "uri"), [("gs", "gs://models/no/such"), ("blobs", "az://models/no/such")])
def test_wrong_path_is_an_empty_listing(kind, uri, scorer, tmp_path, request):
    url = request.getfixturevalue(kind)
    connection = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={url}/{ACCOUNT}"
    done = scorer("fetch", uri, tmp_path / "m", STORAGE_EMULATOR_HOST=url, AZURE_STORAGE_CONNECTION_STRING=connection)
    refused(done, "Check the path")
    assert "no/such" in done.termination_message


def test_refused_azure_key_names_its_variable(blobs, scorer, tmp_path):
    for key, expected in [("AAAA" + KEY[4:], "AuthorizationFailure"), ("no base64", "is not base64")]:
        connection = f"AccountName={ACCOUNT};AccountKey={key};BlobEndpoint={blobs}/{ACCOUNT}"
        done = scorer("fetch", "az://models/a/b", tmp_path / "m", AZURE_STORAGE_CONNECTION_STRING=connection)
        refused(done, expected)
    refused(scorer("fetch", "az://models/a/b", tmp_path / "m"), "AZURE_STORAGE_ACCOUNT in the registry's podSecret")


def test_missing_azure_credentials_name_their_variables(scorer, tmp_path):
    done = scorer(
        "fetch", "az://models/a/b", tmp_path / "m", AZURE_STORAGE_ACCOUNT="nobody", HTTP_PROXY="http://127.0.0.1:1"
    )
    refused(done, "AZURE_STORAGE_CONNECTION_STRING")
    assert "no Azure credentials" in done.termination_message


def test_shared_access_signature_is_enough(blobs, scorer, tmp_path):
    """Check an account SAS that may read and list blobs.

    The test makes it as the documentation of Azure Storage describes.
    """
    import base64
    import hmac

    fields = {
        "sv": "2021-12-02",
        "ss": "b",
        "srt": "sco",
        "sp": "rl",
        "se": "2099-01-01T00:00:00Z",
        "spr": "https,http",
    }
    text = "\n".join(
        [ACCOUNT, fields["sp"], fields["ss"], fields["srt"], "", fields["se"], "", fields["spr"], fields["sv"], "", ""]
    )
    sign = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), "sha256")).decode()
    token = "&".join(f"{name}={quote(value)}" for name, value in {**fields, "sig": sign}.items())
    connection = f"BlobEndpoint={blobs}/{ACCOUNT};AccountName={ACCOUNT};SharedAccessSignature={token}"
    done = scorer("fetch", "az://models/a/b", tmp_path / "m", AZURE_STORAGE_CONNECTION_STRING=connection)
    assert done.returncode == 0, done.stderr
    assert whole(tmp_path / "m")
    assert quote(sign) not in done.stderr


def test_reads_each_kind_of_google_credentials(gs, scorer, tmp_path):
    bad = scorer("fetch", "gs://models/a/b", tmp_path / "m", GOOGLE_APPLICATION_CREDENTIALS_JSON="no JSON")
    refused(bad, "is not the content of a key file")
    wrong = scorer("fetch", "gs://models/a/b", tmp_path / "m", GOOGLE_APPLICATION_CREDENTIALS_JSON='{"type": "x"}')
    refused(wrong, "cannot use the credentials")


def archive(kind: str, names: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(made, "w") as opened:
            for name, content in names.items():
                opened.writestr(name, content)
    else:
        with tarfile.open(fileobj=made, mode="w:gz") as opened:
            for name, content in names.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                opened.addfile(entry, io.BytesIO(content))
    return made.getvalue()


@pytest.mark.parametrize("store", ["http"], indirect=True)
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("top", ["", "model/"])
def test_unpacks_an_archive(store, web, scorer, tmp_path, kind, top):
    (web[1] / f"model.{kind}").write_bytes(archive(kind, {top + name: content for name, content in FILES.items()}))
    uri = f"{store.relay.url}/model.{kind}"
    done = scorer("fetch", uri, tmp_path / "m", **store.env)
    assert done.returncode == 0, done.stderr
    assert whole(tmp_path / "m")
    requests = len(store.relay.seen)
    assert json.loads(scorer("fetch", uri, tmp_path / "m", **store.env).termination_message) == json.loads(
        done.termination_message
    )
    assert len(store.relay.seen) == requests


@pytest.mark.parametrize("store", ["http"], indirect=True)
@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("evil.zip", archive("zip", {"../out": b"x"}), "refused the artifact listing"),
        ("evil.tgz", archive("tar.gz", {"a/../../out": b"x"}), "refused the artifact listing"),
        ("no.zip", b"this is no archive", "cannot read the archive"),
        ("half.tar.gz", archive("tar.gz", FILES)[:5000], "cannot read the archive"),
        ("empty.zip", archive("zip", {}), "has no files"),
        ("file.txt", b"x", "does not exist"),
        ("unlisted/", b"", "not a folder that its server lists"),
        ("nothing/", b"", "listing is empty"),
    ],
)
def test_refuses_what_is_not_a_model(store, web, scorer, tmp_path, name, content, expected):
    if not name.endswith("/"):
        (web[1] / name).write_bytes(content)
    done = scorer("fetch", f"{store.relay.url}/{name}", tmp_path / "m", **store.env)
    refused(done, expected)
    assert not (tmp_path / "out").exists()


def test_password_is_not_printed(web, scorer, tmp_path):
    wrong = {"SLUICEGATE_HTTP_USERNAME": "me", "SLUICEGATE_HTTP_PASSWORD": "wrong"}
    done = scorer("fetch", f"{web[0]}/a/b", tmp_path / "m", SLUICEGATE_CREDENTIAL_HOSTS="127.0.0.1", **wrong)
    refused(done, "SLUICEGATE_HTTP_PASSWORD")
    refused(scorer("fetch", f"{web[0]}/a/b?sig=secret", tmp_path / "n"), "without a query")


def refused(done, expected: str) -> None:
    assert done.returncode == 1, done.stderr
    assert expected in done.termination_message
    assert done.stderr.splitlines()[-1] == done.termination_message
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
    assert KEY not in done.stderr
