"""What an artifact store or an archive says wrongly becomes a message, within limits of memory and time."""

import io
import time
import zipfile

import httpx
import pytest
from sluicegate_scorer import errors
from sluicegate_scorer.archive import unpack
from sluicegate_scorer.errors import ScorerError
from sluicegate_scorer.folder import Folder
from sluicegate_scorer.sources import http as http_store
from sluicegate_scorer.sources import web
from sluicegate_scorer.sources.http import HttpSource
from sluicegate_scorer.sources.proxy import ProxySource


def zipped(**patches: int) -> bytes:
    """Return a zip of one file whose headers are patched: `flags` and `method`."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("MLmodel", b"flavors: {}\n" * 100)
    content = bytearray(made.getvalue())
    for header, start in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(header) + start
        content[at] |= patches.get("flags", 0)
        content[at + 2] = patches.get("method", content[at + 2])
    return bytes(content)


def damaged() -> bytes:
    content = bytearray(zipped())
    at = content.index(b"MLmodel") + len(b"MLmodel")
    content[at : at + 8] = b"\xff" * 8
    return bytes(content)


@pytest.mark.parametrize(
    "content, expected",
    [
        (zipped(flags=1), "cannot read the archive m.zip: 'MLmodel' is encrypted. Create it again without a password"),
        (zipped(method=99), "cannot read the archive m.zip: That compression method is not supported"),
        (damaged(), "cannot read the archive m.zip: Error -3 while decompressing data"),
    ],
    ids=["encrypted", "unknown compression", "damaged"],
)
def test_an_archive_that_cannot_be_read_is_a_message(tmp_path, content, expected):
    folder = Folder(tmp_path / "model", "http://store/m.zip")
    folder.open()
    (folder.path / "m.zip").write_bytes(content)
    with pytest.raises(ScorerError) as error:
        unpack(folder, "m.zip")
    assert str(error.value).startswith(expected)


def proxy_of(size):
    def respond(request):
        return httpx.Response(200, json={"files": [{"path": "MLmodel", "is_dir": False, "file_size": size}]})

    client = httpx.Client(transport=httpx.MockTransport(respond))
    return ProxySource("mlflow-artifacts:/1", "http://mlflow", "1", client)


@pytest.mark.parametrize("size", ["big", "-1", -1, 1.5, [], {}, True, "1" * 5000])
def test_a_file_size_that_is_no_number_is_a_message(size):
    with pytest.raises(ScorerError, match=r"the file_size of MLmodel is .*, not a number of bytes"):
        proxy_of(size).list_folder("")


@pytest.mark.parametrize("size, expected", [(12, 12), ("12", 12), (None, None), (0, 0)])
def test_a_file_size_may_be_digits_or_absent(size, expected):
    files, _ = proxy_of(size).list_folder("")
    assert files[0].size == expected


def test_a_listing_has_a_size_limit(monkeypatch):
    monkeypatch.setattr(web, "MAX_LISTING", 1 << 20)
    sent = 0

    def chunks():
        nonlocal sent
        for _ in range(100):
            sent += 1 << 20
            yield b"<a href='x'>x</a>" * (1 << 16)

    def respond(request):
        return httpx.Response(200, headers={"content-type": "text/html"}, content=chunks())

    monkeypatch.setattr(http_store, "client", lambda auth: httpx.Client(transport=httpx.MockTransport(respond)))
    with pytest.raises(ScorerError, match="refused the listing at http://store/m/: it has more than 1 MiB"):
        HttpSource("http://store/m", None).list_folder("")
    assert sent <= 3 << 20


def test_a_listing_within_the_limit_is_read(monkeypatch):
    def respond(request):
        if request.url.path == "/m/":
            return httpx.Response(302, headers={"location": "http://store/n/"})
        text = '<a href="MLmodel">MLmodel</a> <a href="data/">data</a> <a href="../">up</a>'
        return httpx.Response(200, html=text)

    transport = httpx.MockTransport(respond)
    monkeypatch.setattr(http_store, "client", lambda auth: httpx.Client(transport=transport, follow_redirects=True))
    files, folders = HttpSource("http://store/m", None).list_folder("")
    assert ([entry.path for entry in files], folders) == (["MLmodel"], ["data"])


@pytest.mark.parametrize(
    "text", ["?" + "token" * 40_000, "&" + "token" * 40_000 + "=", "?a." * 60_000, "a://" * 50_000]
)
def test_redacting_takes_time_in_proportion_to_the_length(text):
    began = time.process_time()
    errors.redact(text)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "text, expected",
    [
        ("http://h/p?sig=abc&x=1", "http://h/p?sig=***&x=1"),
        ("http://h/p?X-Amz-Signature=abc", "http://h/p?X-Amz-Signature=***"),
        ("http://h/p?a=1&access_token=abc'", "http://h/p?a=1&access_token=***'"),
        ("http://h/p?design=abc&sigma=2", "http://h/p?design=abc&sigma=2"),
    ],
)
def test_redacts_secret_parameters_only(text, expected):
    assert errors.redact(text) == expected
