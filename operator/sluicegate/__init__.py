"""Sluicegate: from a model registry to production traffic on Kubernetes."""

__version__ = "0.1.0"
