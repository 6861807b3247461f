"""Sluicegate, a Kubernetes operator that rolls out models from a registry."""

__version__ = "0.1.0"
