"""The scoring server without its counters, to measure what the counters cost.

The arguments are those of `sluicegate-scorer`.
"""

from sluicegate_scorer.cli import entry
from sluicegate_scorer.server.metrics import Metrics


def nothing(*_: object) -> None:
    """Do nothing, in place of a method that counts."""


setattr(Metrics, "request", nothing)  # noqa: B010  (an assignment would be an error to mypy)
setattr(Metrics, "batch", nothing)  # noqa: B010

entry()
