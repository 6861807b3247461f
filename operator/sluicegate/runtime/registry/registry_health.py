"""A circuit breaker for one registry.

It decides from the outcomes of polls whether the registry itself is down, or only some of its models. It does no IO and
reads no clock.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sluicegate.core.models.following import concerns_registry, may_concern_registry
from sluicegate.core.models.resolution import ResolutionFailure

REPORTED_AFTER: Final = 3
"""Consecutive failures after which a failure is reported. A single failure is not reported.

A failure that may concern one model only counts as the registry's after as many different models have failed in a row.
"""


class RegistryHealth:
    """The failures of one registry and of its models."""

    def __init__(self) -> None:
        """Start with a registry that works."""
        self.problem: ResolutionFailure | None = None
        """The reported failure of the registry, or None while it works."""
        self.failures = 0
        """Consecutive failures of the registry."""
        self._suspects: set[str] = set()
        """Models whose failure may be the registry's, since its last valid response."""
        self._model_failures: dict[str, int] = {}
        """By model, the number of consecutive failures that may concern that model only."""

    def is_registry_failure(self, model: str, failure: ResolutionFailure, models: Collection[str]) -> bool:
        """Count the failed poll of a model, and tell whether the registry itself failed.

        Args:
            model: The model that was polled.
            failure: Why the poll failed.
            models: The models of which there is a result.
        """
        if concerns_registry(failure):
            return True
        if not may_concern_registry(failure):
            return False
        if not self.is_reported(model):  # From then on, the failure concerns this model only.
            self._suspects.add(model)
        if len(self._suspects) >= min(REPORTED_AFTER, len({*models, *self._model_failures, model})):
            return True
        self._model_failures[model] = self._model_failures.get(model, 0) + 1
        return False

    def is_reported(self, model: str) -> bool:
        """Tell whether a model has failed often enough to report it."""
        return self._model_failures.get(model, 0) >= REPORTED_AFTER

    def registry_failed(self, failure: ResolutionFailure) -> bool:
        """Count a failure of the registry.

        Returns:
            Whether the reported problem has changed.
        """
        self.failures += 1
        if self.failures < REPORTED_AFTER or (self.problem is not None and self.problem.reason == failure.reason):
            return False
        self.problem = failure
        return True

    def responded(self, model: str) -> bool:
        """Note a valid response about a model, which ends the failures of the registry and of this model.

        Returns:
            Whether a reported problem has ended.
        """
        self.failures = 0
        self._suspects.clear()
        self._model_failures.pop(model, None)
        ended, self.problem = self.problem is not None, None
        return ended

    def retain(self, models: Collection[str]) -> None:
        """Forget the failures of all other models."""
        for model in self._model_failures.keys() - models:
            del self._model_failures[model]

    def retry_delay(self, interval: float) -> float:
        """Return the seconds until the next probe after a failure: exponential, up to the poll interval."""
        return min(interval, 2.0 ** min(self.failures, 16))
