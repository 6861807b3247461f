"""Tests against a real MLflow server."""
