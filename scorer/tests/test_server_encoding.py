"""Compressed request bodies.

The size limit applies to what a body expands to.
"""

import gzip
import json
import random
import tracemalloc
import zlib

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from sluicegate_scorer.server import encoding, trace
from sluicegate_scorer.server.asgi import TooLarge
from sluicegate_scorer.server.encoding import Corrupt, Expansion, Unsupported

from scorer.tests.test_server_v2 import given, listening, made, zoo

pytestmark = pytest.mark.filterwarnings("ignore")
LIMIT = 1 << 20


def expanded(body, limit=LIMIT, budget=None):
    """Expand a body, in as many calls as the budget requires."""
    expansion = Expansion(body, limit)
    while (whole := expansion.expand(budget)) is None:
        pass
    return whole


@pytest.mark.parametrize("budget", [None, 1, 100_000])
def test_expands_what_gzip_compresses(budget):
    generator = random.Random(1)
    bodies = [b"", b"a", b"a" * LIMIT, generator.randbytes(300_000), bytes(range(256)) * 1000]
    for body in bodies:
        for level in (0, 1, 9):
            assert expanded(gzip.compress(body, level), budget=budget) == body
        parts = [body[n : n + 70_000] for n in range(0, len(body), 70_000)]
        assert expanded(b"".join(map(gzip.compress, parts)), budget=budget) == body


def test_stops_at_the_limit():
    body = gzip.compress(b"a" * LIMIT)
    assert len(expanded(body, LIMIT)) == LIMIT
    for one_over in (gzip.compress(b"a" * (LIMIT + 1)), gzip.compress(b"a" * LIMIT) + gzip.compress(b"a")):
        with pytest.raises(TooLarge):
            expanded(one_over)


def test_bomb_takes_no_more_memory_than_the_limit():
    bomb = gzip.compress(bytes(64 << 20), 1)
    assert len(bomb) < 400_000
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            expanded(bomb, 4 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "not valid gzip"),
        (zlib.compress(b"{}"), "not valid gzip"),
        (gzip.compress(b"{}" * 99)[:-1], "ends too early"),
        (gzip.compress(b"{}" * 99)[:12], "ends too early"),
        (gzip.compress(b"{}")[:-8] + bytes(8), "not valid gzip"),
        (gzip.compress(b"{}") + b"rest", "not valid gzip"),
        (gzip.compress(b"") * 10_001, "more than 10,000 gzip streams"),
    ],
)
def test_refuses_what_is_not_gzip(body, message):
    with pytest.raises(Corrupt, match=message):
        expanded(body)


def test_names_the_coding_that_it_refuses():
    assert encoding.is_plain(b"identity") and encoding.is_plain(b" ")
    assert not encoding.is_plain(b"GZIP") and not encoding.is_plain(b"x-gzip")
    for coding in (b"deflate", b"br", b"zstd", b"gzip, gzip", b"\xff" * 1000):
        with pytest.raises(Unsupported, match=r"not supported\. Use gzip"):
            encoding.is_plain(coding)
    fields = [(b"content-encoding", b"gzip"), (b"content-type", b"a"), (b"content-encoding", b"br")]
    assert trace.read_headers(fields) == (b"a", (), b"gzip, br")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoding")
    name, _ = next(zoo.sklearn(folder))
    with listening(made(folder / name)) as url:
        yield url


SPLIT = json.dumps({"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1.0, 2.0, 3.0]]}}).encode()
LARGE = SPLIT + b" " * (3 << 20)
CSV = b"a,b,c\n1.0,2.0,3.0\n"
TENSORS = {"inputs": [{"name": name, "shape": [1, 1], "datatype": "FP64", "data": [1.0]} for name in "abc"]}
BODIES = {
    "the fast path": ("/invocations", "application/json", SPLIT),
    "a thread": ("/invocations", "application/json", LARGE),
    "CSV": ("/invocations", "text/csv", CSV),
    "V2": ("/v2/models/model/infer", "application/json", json.dumps(TENSORS).encode()),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_compressed_request_has_the_same_response(url, body):
    path, kind, content = body
    plain = httpx.post(url + path, content=content, headers={"Content-Type": kind})
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    response = httpx.post(url + path, content=gzip.compress(content), headers=headers)
    assert plain.status_code == response.status_code == 200
    assert response.content == plain.content


@pytest.mark.parametrize("path", ["/invocations", "/v2/models/model/infer"])
def test_endpoint_refuses_other_codings_and_large_bodies(url, path):
    field = "error" if path.startswith("/v2") else "message"
    with httpx.Client(base_url=url) as client:

        def post(content, coding):
            headers = {"Content-Type": "application/json", "Content-Encoding": coding}
            return client.post(path, content=content, headers=headers)

        refused = post(b"x", "br")
        assert (refused.status_code, refused.headers["x-sluicegate-error"]) == (415, "client")
        assert refused.headers["accept-encoding"] == "gzip"
        assert "'br' is not supported. Use gzip" in refused.json()[field]
        corrupt = post(SPLIT, "gzip")
        assert corrupt.status_code == 400 and "not valid gzip" in corrupt.json()[field]
        bomb = gzip.compress(bytes(101 << 20), 1)
        too_large = post(bomb, "gzip")
        assert too_large.status_code == 413 and "exceeds the limit" in too_large.json()[field]
        assert post(SPLIT, "identity").status_code in (200, 400)  # V2 does not take this body, but reads it


@pytest.mark.parametrize("binary", [True, False])
def test_triton_client_compresses(url, binary):
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    try:
        inputs = [given(name, np.array([[1.0], [2.0]]), binary) for name in "abc"]
        plain = client.infer("model", inputs).as_numpy("output-1")
        response = client.infer(
            "model", inputs, request_compression_algorithm="gzip", response_compression_algorithm="gzip"
        )
        assert response.as_numpy("output-1").tobytes() == plain.tobytes()
        with pytest.raises(triton.InferenceServerException, match=r"'deflate' is not supported\. Use gzip"):
            client.infer("model", inputs, request_compression_algorithm="deflate")
    finally:
        client.close()
