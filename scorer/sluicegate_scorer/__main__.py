"""Lets `python -m sluicegate_scorer` do what the console script does."""

from sluicegate_scorer.cli import entry

entry()
