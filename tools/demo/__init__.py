"""`make demo`: a complete local cluster with MLflow and the operator."""
