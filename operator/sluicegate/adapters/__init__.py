"""HTTP clients of other systems.

These are the MLflow registry, scoring pods, Prometheus and receivers of notifications.
"""
