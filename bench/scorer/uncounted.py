"""Our server without its counters: what they cost is the difference. The arguments are those of `sluicegate-scorer`."""

from sluicegate_scorer.cli import entry
from sluicegate_scorer.server.metrics import Metrics


def nothing(*_: object) -> None:
    """In place of counting."""


setattr(Metrics, "request", nothing)  # noqa: B010  (an assignment would be an error to mypy)
setattr(Metrics, "batch", nothing)  # noqa: B010

entry()
