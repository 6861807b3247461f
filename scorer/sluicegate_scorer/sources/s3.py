"""Artifacts in S3, or in a store with the same protocol."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
import botocore.exceptions as failures
from botocore.config import Config

from sluicegate_scorer.errors import ScorerError, TransientError, one_line, redact
from sluicegate_scorer.sources.base import CHUNK, MAX_FILES, Body, Entry, range_header, safe_path

_DENIED = {"AccessDenied", "AllAccessDisabled", "403", "Forbidden"}
_BAD_KEYS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
}
_TRANSIENT = {
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "Throttling",
    "RequestTimeTooSkewed",
}
_CHECKSUMS = {"CRC32", "SHA1", "SHA256"}
"""The checksums that botocore verifies without the package awscrt."""
_TRUE = {"1", "true", "yes"}


class S3Source:
    """A prefix in a bucket.

    One flat listing returns all objects, so it has no sub-folders.

    Args:
        uri: the artifact URI, for messages.
        client: a boto3 S3 client.
    """

    ranges = True

    def __init__(self, uri: str, client: Any) -> None:
        parts = urlsplit(uri)
        self._uri = redact(uri)
        self._bucket = parts.netloc.rpartition("@")[2]
        self._prefix = unquote(parts.path).strip("/")
        self._client = client
        if not self._bucket:
            raise ScorerError(f"cannot fetch {self._uri}: it has no bucket. Use s3://BUCKET/PREFIX")

    @classmethod
    def from_environment(cls, uri: str) -> "S3Source":
        """Return a store with AWS_* from the environment.

        It also uses the MLFLOW_S3_* settings of MLflow's own client.
        """
        env = os.environ.get
        style = env("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "auto")
        # This program retries. The retries of boto3 would multiply the attempts, and log nothing meanwhile.
        config = Config(
            connect_timeout=10,
            read_timeout=20,
            max_pool_connections=16,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": style},
        )
        insecure = env("MLFLOW_S3_IGNORE_TLS", "").lower() in _TRUE
        try:
            client = boto3.client(
                "s3",
                endpoint_url=env("MLFLOW_S3_ENDPOINT_URL") or None,
                config=config,
                verify=False if insecure else None,
            )
        except (failures.BotoCoreError, ValueError) as error:
            raise ScorerError(
                f"cannot fetch {redact(uri)}: the S3 settings are not valid: {one_line(str(error), 300)}. "
                "Correct AWS_* and MLFLOW_S3_* in the registry's podSecret or env"
            ) from error
        return cls(uri, client)

    def list_folder(self, folder: str) -> tuple[list[Entry], list[str]]:
        """List every key below the prefix.

        Keys that end in a slash are folder markers of consoles, not files.
        """
        root = f"{self._prefix}/" if self._prefix else ""
        entries: list[Entry] = []
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=root):
                for item in page.get("Contents", []):
                    if item["Key"].endswith("/"):
                        continue
                    path = safe_path(item["Key"][len(root) :])
                    version = None if _has_checksum(item) else item.get("ETag")
                    entries.append(Entry(path, int(item["Size"]), version=version))
                if len(entries) > MAX_FILES:
                    return entries, []
        except (failures.BotoCoreError, failures.ClientError) as error:
            raise self._failure(error) from error
        return entries, []

    @contextmanager
    def read(self, entry: Entry, offset: int, end: int | None = None) -> Iterator[Body]:
        """Stream one object from `offset` on. A part of it must be of the object that was listed."""
        key = "/".join(part for part in (self._prefix, entry.path) if part)
        extra = range_header(offset, end)
        if extra and entry.version:
            extra["IfMatch"] = entry.version
        try:
            response = self._client.get_object(Bucket=self._bucket, Key=key, **extra)
            # botocore's own context manager returns the bare stream inside, which has no iter_chunks.
            with closing(response["Body"]) as body:
                start = offset if "ContentRange" in response else 0
                yield Body(start, body.iter_chunks(CHUNK))
        except (failures.BotoCoreError, failures.ClientError) as error:
            raise self._failure(error) from error

    def missing(self) -> ScorerError:
        """Return the error for an empty listing.

        S3 has no folders, so a wrong prefix gives an empty listing.
        """
        return ScorerError(
            f"no objects at {self._uri}: bucket {self._bucket} has none below {self._prefix}/. "
            "Check the path, and that the artifacts were not deleted"
        )

    def _failure(self, error: Exception) -> ScorerError:
        where = f"s3://{self._bucket} at {self._client.meta.endpoint_url}"
        if isinstance(error, failures.ClientError):
            return self._client_error(error, where)
        detail = one_line(str(error), 200)
        if isinstance(
            error,
            failures.NoCredentialsError | failures.PartialCredentialsError | failures.TokenRetrievalError,
        ):
            return ScorerError(
                f"no S3 credentials for {where}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the registry's "
                "podSecret, or give the pod's service account a role"
            )
        if isinstance(error, failures.SSLError):
            return ScorerError(f"TLS with {where} failed: {detail}. Set AWS_CA_BUNDLE to the CA certificate")
        if isinstance(error, failures.EndpointConnectionError | failures.ConnectTimeoutError):
            return TransientError(
                f"cannot connect to {where}: {detail}. Check AWS_ENDPOINT_URL or MLFLOW_S3_ENDPOINT_URL, and the "
                "network policies",
                unreachable=True,
            )
        if isinstance(error, failures.HTTPClientError | failures.IncompleteReadError):
            return TransientError(f"the download from {where} was interrupted: {detail}. Check the S3 server")
        return ScorerError(f"cannot use {where}: {detail}. Check the AWS_* settings in the registry's podSecret")

    def _client_error(self, error: failures.ClientError, where: str) -> ScorerError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code == "NoSuchBucket":
            return ScorerError(
                f"the bucket {self._bucket} does not exist ({where}, NoSuchBucket). Correct the URI {self._uri}"
            )
        if code in {"NoSuchKey", "404"}:
            return ScorerError(
                f"an object of {self._uri} no longer exists ({where}, NoSuchKey). "
                "Check that the artifacts were not deleted"
            )
        if code in {"PreconditionFailed", "412"}:
            return ScorerError(f"an object of {self._uri} changed during the download ({where}, 412). Fetch it again")
        if code in _BAD_KEYS:
            return ScorerError(
                f"{where} refused the credentials ({code}). Correct AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN in the registry's podSecret"
            )
        if code in _DENIED:
            return ScorerError(
                f"{where} denied access to {self._uri} (AccessDenied). "
                "Allow s3:ListBucket on the bucket and s3:GetObject on the prefix"
            )
        detail = one_line(str(error.response.get("Error", {}).get("Message", "")), 200)
        message = f"{where} responded with {code} ({status}): {detail}. Check the S3 server"
        return TransientError(message) if code in _TRANSIENT or status >= 500 else ScorerError(message)


def _has_checksum(item: dict[str, Any]) -> bool:
    """Tell whether botocore verifies an object of a listing, if it is read by one request.

    Few large objects have a checksum of the whole object, because clients upload them in parts.
    """
    return item.get("ChecksumType") == "FULL_OBJECT" and not _CHECKSUMS.isdisjoint(item.get("ChecksumAlgorithm", []))
