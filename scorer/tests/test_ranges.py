"""Large files of an object store are downloaded in ranges, over several connections."""

import base64
import hashlib
import io
import os
import threading
from contextlib import contextmanager

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber
from sluicegate_scorer.errors import ScorerError, TransientError
from sluicegate_scorer.fetch import Download
from sluicegate_scorer.folder import Folder
from sluicegate_scorer.sources import base
from sluicegate_scorer.sources.base import Body, Entry
from sluicegate_scorer.sources.s3 import S3Source

RANGE = 1 << 16
CONTENT = os.urandom(5 * RANGE + 7)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(base, "RANGE", RANGE)
    monkeypatch.setattr(base, "MIN_SIZE", 2 * RANGE)


class Memory:
    """A store with one model. `fault` gets the offset of each request, and may fail or return another body."""

    ranges = True

    def __init__(self, fault=lambda offset: None, md5=None):
        self.files = {"MLmodel": b"flavors: {}\n", "data/model.bin": CONTENT}
        self.fault = fault
        self.md5 = base64.b64encode(md5 or hashlib.md5(CONTENT).digest()).decode()
        self.requests = []

    def list_folder(self, folder):
        entries = [Entry(path, len(content), version="1") for path, content in self.files.items()]
        return [entries[0], Entry(entries[1].path, entries[1].size, self.md5, "1")], []

    @contextmanager
    def read(self, entry, offset, end=None):
        self.requests.append((entry.path, offset, end))
        replaced = self.fault(offset) if entry.path != "MLmodel" else None
        content = self.files[entry.path][offset:end] if replaced is None else replaced[1]
        start = offset if replaced is None else replaced[0]
        yield Body(start, iter([content[at : at + 10_000] for at in range(0, len(content), 10_000)]))

    def missing(self):
        raise AssertionError


def download(source, tmp_path, timeout=60.0):
    folder = Folder(tmp_path / "m", "s3://models/a")
    folder.open()
    try:
        return Download(source, folder, timeout).run()
    finally:
        assert not list((tmp_path / "m").rglob(".sluicegate-part-*"))


def test_downloads_each_range_once(tmp_path):
    source = Memory()
    result = download(source, tmp_path)
    assert (tmp_path / "m/data/model.bin").read_bytes() == CONTENT
    lines = "".join(f"{path} {hashlib.sha256(body).hexdigest()}\n" for path, body in sorted(source.files.items()))
    assert result.digest == "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    starts = range(0, len(CONTENT), RANGE)
    wanted = [("data/model.bin", start, min(start + RANGE, len(CONTENT))) for start in starts]
    assert sorted(source.requests) == [("MLmodel", 0, None), *wanted]


def test_ranges_are_downloaded_at_the_same_time(tmp_path):
    together = threading.Barrier(6, timeout=10)

    def fault(offset):
        together.wait()

    download(Memory(fault), tmp_path)


def test_resumes_in_the_range_that_broke(tmp_path):
    broken = []

    def fault(offset):
        if offset == 2 * RANGE and not broken:
            broken.append(offset)
            return offset, CONTENT[offset : offset + 30_000]
        return None

    source = Memory(fault)
    download(source, tmp_path)
    assert (tmp_path / "m/data/model.bin").read_bytes() == CONTENT
    assert ("data/model.bin", 2 * RANGE + 30_000, 3 * RANGE) in source.requests
    assert len(source.requests) == 8


@pytest.mark.parametrize("start", [0, None])
def test_reads_the_whole_file_if_the_store_ignores_ranges(tmp_path, start, caplog):
    source = Memory(lambda offset: (start if start is not None else offset, CONTENT[start or offset :]))
    download(source, tmp_path)
    assert (tmp_path / "m/data/model.bin").read_bytes() == CONTENT
    assert "does not return ranges" in caplog.text
    assert ("data/model.bin", 0, None) in source.requests


def test_failure_of_a_range_is_the_failure_of_the_fetch(tmp_path):
    def fault(offset):
        if offset == 3 * RANGE:
            raise ScorerError("denied. Allow it")
        if offset:
            raise TransientError("busy. Wait")

    with pytest.raises(ScorerError, match=r"^denied"):
        download(Memory(fault), tmp_path)
    assert not (tmp_path / "m/data/model.bin").exists()


def test_gives_up_on_a_range_without_progress(tmp_path):
    def fault(offset):
        if offset == RANGE:
            raise TransientError("busy. Wait")

    with pytest.raises(ScorerError, match=r"gave up after .* without progress: busy"):
        download(Memory(fault), tmp_path, timeout=0.5)


def test_refuses_a_file_that_stays_damaged(tmp_path):
    with pytest.raises(ScorerError, match="does not match the checksum in its listing"):
        download(Memory(md5=b"0" * 16), tmp_path, timeout=1)
    assert not (tmp_path / "m/data/model.bin").exists()


@pytest.fixture
def client():
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url="http://s3.test:9000", **keys)


@pytest.mark.parametrize(
    ("checksum", "version"),
    [
        ({}, '"x"'),
        ({"ChecksumType": "COMPOSITE", "ChecksumAlgorithm": ["CRC32"]}, '"x"'),
        ({"ChecksumType": "FULL_OBJECT", "ChecksumAlgorithm": ["CRC64NVME"]}, '"x"'),
        ({"ChecksumType": "FULL_OBJECT", "ChecksumAlgorithm": ["CRC32"]}, None),
        ({"ChecksumType": "FULL_OBJECT", "ChecksumAlgorithm": ["SHA256"]}, None),
    ],
)
def test_s3_object_that_botocore_verifies_is_read_as_a_whole(client, checksum, version):
    with Stubber(client) as stub:
        item = {"Key": "a/x", "Size": 2 * RANGE, "ETag": '"x"', **checksum}
        stub.add_response("list_objects_v2", {"Contents": [item]})
        files, _ = S3Source("s3://models/a", client).list_folder("")
    assert [file.version for file in files] == [version]


def test_s3_range_is_of_the_object_that_was_listed(client):
    source = S3Source("s3://models/a", client)
    with Stubber(client) as stub:
        wanted = {"Bucket": "models", "Key": "a/x", "Range": "bytes=2-5", "IfMatch": '"x"'}
        body = {"Body": StreamingBody(io.BytesIO(b"mode"), 4), "ContentRange": "bytes 2-5/9"}
        stub.add_response("get_object", body, wanted)
        with source.read(Entry("x", 9, version='"x"'), 2, 6) as read:
            assert (read.offset, b"".join(read.chunks)) == (2, b"mode")
        stub.add_client_error("get_object", "PreconditionFailed", "why", 412)
        with pytest.raises(ScorerError, match="changed during the download"):
            source.read(Entry("x", 9, version='"x"'), 2, 6).__enter__()
