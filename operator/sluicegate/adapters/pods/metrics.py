"""Reader for the counters of scoring pods."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from sluicegate.adapters.pods.exposition import NotScoringServer, parse
from sluicegate.adapters.pods.http import PodHttp, PodRequestFailed
from sluicegate.adapters.unexpected import log_unexpected
from sluicegate.core.analysis.counters import PodCounts

logger = logging.getLogger(__name__)
PATH: Final = "/metrics"
_HEADERS: Final = {"Accept": "text/plain"}


class CountersUnavailable(Exception):
    """A pod's counters cannot be read. The message says why and what to do about it."""


class PodScraper:
    """Reads the /metrics of pods."""

    def __init__(self, http: PodHttp) -> None:
        """Use an HTTP client for pods."""
        self._http = http

    async def scrape(self, pod: str, address: str, kinds: Iterable[str], seconds: float) -> PodCounts:
        """Return the counters of a pod.

        Args:
            pod: Name of the pod, for messages.
            address: HOST:PORT.
            kinds: Kinds of counters to return, see `parse`.
            seconds: Time limit.

        Raises:
            CountersUnavailable: The pod does not respond, or its response has no counters of the scoring server.
        """
        try:
            status, body = await self._http.get(address, PATH, seconds, _HEADERS)
        except PodRequestFailed as error:
            raise CountersUnavailable(_unreachable(pod, address, str(error))) from None
        if status not in (200, 404):
            raise CountersUnavailable(_unreachable(pod, address, f"its /metrics returned {status}"))
        try:
            return parse(body.decode("utf-8", "replace") if status == 200 else "", kinds)
        except NotScoringServer as error:
            raise CountersUnavailable(
                f"Pod {pod} does not have the counters of the scoring server ({error}). "
                "Only the runtime mlflow has them. Use metrics of type Query for other runtimes."
            ) from None
        except Exception as error:  # must not affect the reads of other pods
            log_unexpected(logger, f"the /metrics of pod {pod}", error)
            raise CountersUnavailable(
                _unreachable(pod, address, f"its /metrics caused an unexpected {type(error).__name__}")
            ) from None


def _unreachable(pod: str, address: str, why: str) -> str:
    return (
        f"Pod {pod} cannot be read at {address}: {why}. Let the operator reach the port of the scoring pods "
        "(NetworkPolicy, or mutual TLS of a service mesh), or set spec.rollout.analysis.source.type: Prometheus."
    )
