"""Addresses of artifacts from a registry, and which of them a pod may fetch."""

from __future__ import annotations

from sluicegate.adapters.mlflow import failures
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.core.models.uri import Artifacts, InvalidModelUri, LoggedModel, ModelRef, parse


def fetchable(endpoint: RegistryEndpoint, source: str, uri: str) -> str:
    """Return `source`, or raise an error if a pod cannot or must not fetch it.

    Only artifact stores are accepted. A registry that could return pvc:// would choose which volumes of a namespace are
    mounted. One that could return http:// would choose which addresses inside the cluster receive requests.

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
    """Return the models:/ or runs:/ URI that a source refers to.

    None means that the source is an address already, or not a valid URI.
    """
    try:
        ref = parse(source)
    except InvalidModelUri:
        return None
    return ref if ref.needs_registry else None


def model_id(source: str) -> str | None:
    """Return the id of the logged model that a version was created from.

    MLflow's responses have it only in the source.
    """
    ref = inner(source)
    return ref.model_id if isinstance(ref, LoggedModel) else None


def join(root: str, path: str) -> str:
    """Return the address of `path` below `root`."""
    return f"{root.rstrip('/')}/{path}" if path else root
