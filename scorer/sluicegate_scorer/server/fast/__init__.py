"""The fast path, whose responses equal MLflow's.

It works without pandas and in micro-batches.
"""
