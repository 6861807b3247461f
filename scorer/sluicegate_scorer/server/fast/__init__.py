"""The fast path: requests whose answer is provably MLflow's, without pandas and in micro-batches."""
