"""A cluster with everything on it, installed exactly as `make demo` does."""

from __future__ import annotations

from e2e import demo
from e2e.cluster import Cluster


def installed(name: str) -> Cluster:
    """The cluster of that name, with the operator and a registry with two versions of the example model."""
    cluster, archives = demo._prepare(name)
    fresh = demo._load(cluster, archives)
    demo._install_operator(cluster, restart="localhost/sluicegate:dev" in fresh)
    demo._train(cluster)
    return cluster
