"""Messages for the errors that S3 returns.

The responses are stubs here. The end-to-end tests use a real S3 server.
"""

import io

import boto3
import pytest
from botocore.exceptions import NoCredentialsError
from botocore.response import StreamingBody
from botocore.stub import Stubber
from sluicegate_scorer.errors import ScorerError, TransientError
from sluicegate_scorer.sources.base import Entry
from sluicegate_scorer.sources.s3 import S3Source


@pytest.fixture
def client():
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url="http://s3.test:9000", **keys)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchBucket", 404, "bucket models does not exist"),
        ("NoSuchKey", 404, "no longer exists"),
        ("AccessDenied", 403, "Allow s3:ListBucket"),
        ("InvalidAccessKeyId", 403, "refused the credentials"),
        ("SignatureDoesNotMatch", 403, "refused the credentials"),
    ],
)
def test_errors_of_the_store_name_the_fix(client, code, status, expected):
    with Stubber(client) as stub:
        stub.add_client_error("list_objects_v2", code, "why", status)
        with pytest.raises(ScorerError, match=expected) as raised:
            S3Source("s3://models/a/b", client).list_folder("")
    assert not isinstance(raised.value, TransientError)


def test_busy_server_is_transient(client):
    with Stubber(client) as stub:
        stub.add_client_error("list_objects_v2", "SlowDown", "why", 503)
        with pytest.raises(TransientError):
            S3Source("s3://models/a/b", client).list_folder("")


def test_missing_credentials_name_the_variables(client, monkeypatch):
    source = S3Source("s3://models/a/b", client)
    assert "AWS_ACCESS_KEY_ID" in str(source._failure(NoCredentialsError()))


def test_listing_stays_below_the_prefix(client):
    with Stubber(client) as stub:
        keys = [
            {"Key": "a/b/", "Size": 0},
            {"Key": "a/b/MLmodel", "Size": 3},
            {"Key": "a/b/data/x", "Size": 4},
        ]
        stub.add_response("list_objects_v2", {"Contents": keys})
        files, _ = S3Source("s3://models/a/b", client).list_folder("")
        assert [(file.path, file.size) for file in files] == [("MLmodel", 3), ("data/x", 4)]
        stub.add_response("list_objects_v2", {"Contents": [{"Key": "a/b/../x", "Size": 3}]})
        with pytest.raises(ScorerError, match="refused the artifact listing"):
            S3Source("s3://models/a/b", client).list_folder("")


def test_reads_a_body_in_chunks(client):
    """Check a read through botocore's own StreamingBody.

    Its context manager returns another object than itself.
    """
    with Stubber(client) as stub:
        stub.add_response("get_object", {"Body": StreamingBody(io.BytesIO(b"model"), 5)})
        with S3Source("s3://models/a/b", client).read(Entry("MLmodel", 5), 0) as body:
            assert b"".join(body.chunks) == b"model"
