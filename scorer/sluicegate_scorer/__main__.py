"""Support for `python -m sluicegate_scorer`, which runs the console script."""

from sluicegate_scorer.cli import entry

entry()
