import json

import pytest
from sluicegate.kube import errors


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.Invalid),
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (410, errors.Gone),
        (418, errors.ApiError),
        (422, errors.Invalid),
        (429, errors.TooManyRequests),
        (500, errors.ServerError),
        (504, errors.ServerError),
    ],
)
def test_class_follows_the_status(status: int, cls: type[errors.ApiError]) -> None:
    body = json.dumps({"kind": "Status", "reason": "Why", "message": "what to do", "code": status}).encode()
    error = errors.from_response(status, "x", body)
    assert type(error) is cls
    assert (error.status, error.reason, error.message) == (status, "Why", "what to do")
    assert str(error) == f"what to do ({status} Why)"


def test_an_html_answer_is_quoted_on_one_line() -> None:
    error = errors.from_response(502, "Bad Gateway", b"<html>\n<h1>upstream  down</h1>\xff")
    assert isinstance(error, errors.ServerError)
    assert error.message.startswith("<html> <h1>upstream down</h1>")
    assert error.reason == "Bad Gateway"


def test_an_empty_answer_still_says_something() -> None:
    assert errors.from_response(503, "", b"").message == "the API server gave no reason"


@pytest.mark.parametrize("body", [{"message": 3}, {"code": "x"}, {}, {"details": None, "code": None}])
def test_a_malformed_status_in_a_stream_is_a_server_error(body: dict[str, object]) -> None:
    assert isinstance(errors.from_status(body), errors.ServerError)


def test_retry_after_comes_from_the_body_first() -> None:
    body = json.dumps({"details": {"retryAfterSeconds": 7}}).encode()
    error = errors.from_response(429, "Too Many Requests", body, "3")
    assert isinstance(error, errors.TooManyRequests)
    assert error.retry_after == 7
    header = errors.from_response(429, "", b"", "3")
    assert isinstance(header, errors.TooManyRequests)
    assert header.retry_after == 3
    silent = errors.from_response(429, "", b"", "Wed, 21 Oct 2015 07:28:00 GMT")
    assert isinstance(silent, errors.TooManyRequests)
    assert silent.retry_after == 1


def test_a_namespace_that_goes_away_is_told_from_a_missing_right() -> None:
    causes = [
        {"reason": "NamespaceTerminating", "message": "namespace n is being terminated", "field": "metadata.namespace"}
    ]
    body = {"reason": "Forbidden", "message": "forbidden", "details": {"name": "x", "causes": causes}}
    assert type(errors.from_response(403, "", json.dumps(body).encode())) is errors.NamespaceTerminating
    for details in (None, {"causes": None}, {"causes": ["odd"]}, {"causes": [{"reason": "Other"}]}):
        body["details"] = details
        assert type(errors.from_response(403, "", json.dumps(body).encode())) is errors.Forbidden
