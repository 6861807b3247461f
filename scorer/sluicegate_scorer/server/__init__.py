"""The scoring server: MLflow's protocol on a plain ASGI application."""
