"""The MLflow registry, over its REST API."""
