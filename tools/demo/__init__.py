"""`make demo`: a whole local cluster with MLflow and the operator."""
