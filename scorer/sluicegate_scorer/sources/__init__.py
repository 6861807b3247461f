"""The artifact stores.

A new scheme needs a new module here and one line in `_open`.
"""

from sluicegate_scorer.errors import ScorerError, redact
from sluicegate_scorer.sources.base import Entry, Source

__all__ = ["Entry", "Source", "open_source"]

FORMS = (
    "mlflow-artifacts:/PATH, s3://BUCKET/PATH, gs://BUCKET/PATH, wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PATH, "
    "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH, az://CONTAINER/PATH or https://HOST/PATH"
)
_AZURE = {"wasb", "wasbs", "abfs", "abfss", "az"}


def open_source(uri: str) -> Source:
    """Return the artifact store for a URI, or raise an error for the user.

    The clients are imported here. The proxy of an MLflow server does not need boto3, which takes 0.3 s to import.

    Raises:
        ScorerError: if the scheme is not supported, or its client is not installed.
    """
    scheme = uri.partition(":")[0].lower() if ":" in uri else ""
    try:
        if source := _open(scheme, uri):
            return source
    except ImportError as error:
        raise ScorerError(
            f"cannot fetch {redact(uri)}: {error.name} is not installed. Run pip install 'sluicegate-scorer[stores]'"
        ) from error
    if scheme in {"models", "runs"}:
        raise ScorerError(
            f"cannot fetch {redact(uri)}: {scheme}:/ is not the address of artifacts. Use that address, which the "
            f"operator resolves: {FORMS}"
        )
    raise ScorerError(f"cannot fetch {redact(uri)}: the scheme {scheme or '(none)'} is not supported. Use {FORMS}")


def _open(scheme: str, uri: str) -> Source | None:
    if scheme == "mlflow-artifacts":
        from sluicegate_scorer.sources.proxy import ProxySource

        return ProxySource.from_environment(uri)
    if scheme == "s3":
        from sluicegate_scorer.sources.s3 import S3Source

        return S3Source.from_environment(uri)
    if scheme == "gs":
        from sluicegate_scorer.sources.gs import GsSource

        return GsSource.from_environment(uri)
    if scheme in _AZURE:
        from sluicegate_scorer.sources.azure import AzureSource

        return AzureSource.from_environment(uri)
    if scheme in {"http", "https"}:
        from sluicegate_scorer import archive
        from sluicegate_scorer.sources.http import HttpSource

        return HttpSource.from_environment(uri, single=archive.is_archive(uri))
    return None
