"""What runs inside a Sluicegate pod: one command fetches a model's artifacts, one serves the model."""

__version__ = "0.1.0"
