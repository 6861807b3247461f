"""What a library for all stores cannot do, and these stores can (decision 0037)."""

import http.server
import json
import threading

import boto3
import pytest
from sluicegate_scorer.errors import ScorerError
from sluicegate_scorer.sources.gs import GsSource
from sluicegate_scorer.sources.s3 import S3Source

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}


def listing(*keys):
    contents = "".join(f"<Contents><Key>{key}</Key><Size>{size}</Size></Contents>" for key, size in keys)
    return f"<ListBucketResult><Name>models</Name>{contents}</ListBucketResult>".encode()


@pytest.fixture
def bucket(monkeypatch):
    """Run a server, and yield the list of its responses, the Authorization headers that it received, and its URL."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    answers, received = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            received.append(self.headers["Authorization"])
            status, headers, body = answers.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_POST = do_GET

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", url)
    yield answers, received, url
    server.shutdown()
    server.server_close()


def paths(source):
    return [entry.path for entry in source.list_folder("")[0]]


def test_folders_of_the_s3_console_are_not_files(bucket, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    bucket[0].append((200, {}, listing(("a/", 0), ("a/MLmodel", 3), ("a/data/", 0), ("a/data/x", 1), ("a/empty/", 0))))
    assert paths(S3Source.from_environment("s3://models/a")) == ["MLmodel", "data/x"]


def test_finds_a_bucket_in_another_region(bucket, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    error = b"<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"
    bucket[0].append((301, {"x-amz-bucket-region": "eu-west-1"}, error))
    bucket[0].append((200, {}, listing(("a/MLmodel", 3))))
    assert paths(S3Source.from_environment("s3://models/a")) == ["MLmodel"]
    assert ["us-east-1" in bucket[1][0], "eu-west-1" in bucket[1][1]] == [True, True]


def test_uses_a_profile_of_the_shared_credentials_file(bucket, monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text(
        "[team]\naws_access_key_id = of-the-profile\naws_secret_access_key = b\nregion = us-east-1\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    bucket[0].append((200, {}, listing(("a/MLmodel", 3))))
    assert paths(S3Source.from_environment("s3://models/a")) == ["MLmodel"]
    assert "of-the-profile" in bucket[1][0]


@pytest.mark.filterwarnings("ignore:The load_credentials_from_dict:DeprecationWarning")
def test_takes_the_identity_of_another_cloud_for_google(bucket, monkeypatch, tmp_path):
    (tmp_path / "token").write_text("of-the-service-account")
    account = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": bucket[2] + "/v1/token",
        "credential_source": {"file": str(tmp_path / "token")},
    }
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS_JSON", json.dumps(account))
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE", bucket[2])
    token = {"access_token": "of-google", "issued_token_type": "t", "token_type": "Bearer", "expires_in": 3600}
    objects = {"items": [{"name": "a/MLmodel", "size": "3"}]}
    bucket[0].extend((200, {}, json.dumps(body).encode()) for body in (token, objects))
    assert paths(GsSource.from_environment("gs://models/a")) == ["MLmodel"]
    assert bucket[1][1] == "Bearer of-google"


@pytest.mark.filterwarnings("ignore:The load_credentials_from_dict:DeprecationWarning")
def test_unreachable_token_service_of_google_is_a_message(monkeypatch, tmp_path):
    (tmp_path / "token").write_text("of-the-service-account")
    account = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "http://127.0.0.1:1/v1/token",
        "credential_source": {"file": str(tmp_path / "token")},
    }
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS_JSON", json.dumps(account))
    with pytest.raises(ScorerError, match=r"cannot get a token from Google: .*Workload Identity"):
        GsSource.from_environment("gs://models/a")
