"""Where a registry says that artifacts are: which of those addresses a pod may fetch."""

from __future__ import annotations

from sluicegate.adapters.mlflow import failures
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.core.models.uri import Artifacts, InvalidModelUri, LoggedModel, ModelRef, parse


def fetchable(endpoint: RegistryEndpoint, source: str, uri: str) -> str:
    """`source`, refused where a pod could not (or must not) fetch it.

    Only artifact stores pass: a registry that could answer pvc:// would choose which volumes of a namespace are mounted, and one that
    could answer http:// what inside the cluster is asked.

    Raises:
        ResolutionError: SourceUnsupported.
    """
    try:
        ref = parse(source)
    except InvalidModelUri:
        ref = None
    if not isinstance(ref, Artifacts) or ref.scheme in ("http", "https"):
        raise failures.unsupported_source(endpoint, uri, source)
    return ref.uri


def inner(source: str) -> ModelRef | None:
    """What a source refers to where it is no address yet: models:/ or runs:/."""
    try:
        ref = parse(source)
    except InvalidModelUri:
        return None
    return ref if ref.needs_registry else None


def model_id(source: str) -> str | None:
    """The logged model that a version was made from: MLflow's answers have it in the source only."""
    ref = inner(source)
    return ref.model_id if isinstance(ref, LoggedModel) else None


def join(root: str, path: str) -> str:
    """The address of `path` below `root`."""
    return f"{root.rstrip('/')}/{path}" if path else root
