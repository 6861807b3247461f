"""The locations from which a registry may let pods fetch artifacts."""

import pytest
from sluicegate.adapters.mlflow.artifact_uris import fetchable
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import ResolutionError

MLFLOW = RegistryEndpoint("default", "http://mlflow:5000")


@pytest.mark.parametrize(
    "source",
    [
        "mlflow-artifacts:/1/a",
        "s3://b/a",
        "gs://b/a",
        "wasbs://c@a.blob.core.windows.net/x",
        "abfss://c@a.dfs.core.windows.net/x",
    ],
)
def test_artifact_stores_pass(source: str) -> None:
    assert fetchable(MLFLOW, source, "models:/a/1") == source


@pytest.mark.parametrize(
    "source",
    ["http://169.254.169.254/latest", "https://host/x", "pvc://claim/x", "image:///x", "/mlruns/1", "dbfs:/x", ""],
)
def test_what_only_a_spec_may_name_is_refused(source: str) -> None:
    with pytest.raises(ResolutionError) as refused:
        fetchable(MLFLOW, source, "models:/a/1")
    assert refused.value.failure.reason is Reason.SOURCE_UNSUPPORTED
