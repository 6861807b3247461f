"""What the operator asks of other systems over HTTP: the MLflow registry, and metrics."""
