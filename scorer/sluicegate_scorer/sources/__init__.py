"""Where artifacts come from. A new scheme is a new module here and one line in `open_source`."""

from sluicegate_scorer.errors import ScorerError, redact
from sluicegate_scorer.sources.base import Entry, Source

__all__ = ["Entry", "Source", "open_source"]

_LATER = {"gs", "wasb", "wasbs", "abfss", "azure"}


def open_source(uri: str) -> Source:
    """Finds the source for a URI, refusing with a sentence what cannot be fetched.

    The clients are imported here: an MLflow proxy needs no boto3, which costs 0.3 s to import.
    """
    scheme = uri.partition(":")[0].lower() if ":" in uri else ""
    if scheme == "mlflow-artifacts":
        from sluicegate_scorer.sources.proxy import ProxySource

        return ProxySource.from_environment(uri)
    if scheme == "s3":
        from sluicegate_scorer.sources.s3 import S3Source

        return S3Source.from_environment(uri)
    if scheme in _LATER:
        raise ScorerError(
            f"cannot fetch {redact(uri)}: {scheme}:// is not supported yet; serve the artifacts through "
            "MLflow's proxy "
            "(mlflow server --serve-artifacts), or keep them in s3://"
        )
    if scheme in {"models", "runs"}:
        raise ScorerError(
            f"cannot fetch {redact(uri)}: the operator resolves {scheme}:/ to where the artifacts are; "
            "give that address (mlflow-artifacts:/ or s3://)"
        )
    raise ScorerError(
        f"cannot fetch {redact(uri)}: the scheme {scheme or '(none)'} is not supported; use mlflow-artifacts:/ or s3://"
    )
