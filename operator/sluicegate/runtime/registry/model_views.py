"""The latest poll result of each model of one registry.

Requests are numbered, because a response to an older request may arrive after the response to a newer one. It does no
IO and reads no clock.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from sluicegate.core.models.following import Followed, ModelView
from sluicegate.core.models.resolution import ResolutionFailure

PollResult: TypeAlias = ModelView | ResolutionFailure


class ModelViews:
    """The poll results of one registry, of which no older one replaces a newer one."""

    def __init__(self) -> None:
        """Start without any result."""
        self._results: dict[str, PollResult] = {}
        self._requests = 0
        """Number of the last request. `learn` takes a number too."""
        self._newest: dict[str, int] = {}
        """By model, the number of the newest request that has a response."""

    def get(self, model: str) -> PollResult | None:
        """Return the result of a model, or None before the first one."""
        return self._results.get(model)

    def models(self) -> Collection[str]:
        """Return the models that have a result."""
        return self._results.keys()

    def begin_request(self) -> int:
        """Return the number of a new request."""
        self._requests += 1
        return self._requests

    def is_newest(self, model: str, request: int) -> bool:
        """Note the response to a request, and tell whether no newer request has a response."""
        if request < self._newest.get(model, 0):
            return False
        self._newest[model] = request
        return True

    def store(self, model: str, result: PollResult) -> PollResult | None:
        """Store a result, and return the one that it replaces."""
        before = self._results.get(model)
        self._results[model] = result
        return before

    def learn(self, ref: Followed, version: str) -> None:
        """Store a version that the registry has returned outside of a poll.

        It is newer than the last poll and than a poll in progress.
        """
        self._newest[ref.name] = self.begin_request()
        view = self._results.get(ref.name)
        if isinstance(view, ModelView):
            self._results[ref.name] = view.pointing(ref, version)

    def retain(self, models: Collection[str]) -> None:
        """Forget all other models."""
        for by_model in (self._results, self._newest):
            for model in by_model.keys() - models:
                del by_model[model]
