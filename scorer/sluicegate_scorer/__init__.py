"""The program in a Sluicegate pod: it fetches a model's artifacts and serves it."""

__version__ = "0.1.0"
