"""Parser for the counters of a scoring pod, from the text of its /metrics.

The operator reads hundreds of pods every few seconds. So the labels of a series are parsed once and cached by their
text, and lines of other metrics are skipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from sluicegate.core.analysis.counters import FEATURE, LATENCY, PREDICTION, REQUESTS, PodCounts, Series

PREFIX: Final = "sluicegate_scorer_"
REQUESTS_TOTAL: Final = f"{PREFIX}requests_total"
SECONDS_BUCKET: Final = f"{PREFIX}request_duration_seconds_bucket"
PROFILE_BIN: Final = f"{PREFIX}profile_bin_total"
_STARTED: Final = "process_start_time_seconds"
_NAMES: Final = {REQUESTS: REQUESTS_TOTAL, LATENCY: SECONDS_BUCKET, FEATURE: PROFILE_BIN, PREDICTION: PROFILE_BIN}

MAX_LABELS: Final = 512
"""Maximum length in characters of a series, which is cached. Those of the scoring server are shorter than 200."""
MAX_SERIES: Final = 32_768
"""Maximum number of series of one pod."""


class NotScoringServer(ValueError):
    """The text is not that of the scoring server. The message says why."""


def parse(text: str, kinds: Iterable[str]) -> PodCounts:
    """Return the counters of the given kinds.

    Raises:
        NotScoringServer: The text has no counter of requests, or more than `MAX_SERIES` series.
    """
    required_kinds = frozenset(kinds) | {REQUESTS}
    names = tuple({_NAMES[kind] + "{" for kind in required_kinds})
    counts: dict[Series, float] = {}
    started = 0.0
    for line in text.splitlines():
        if line.startswith(names):
            labelled, _, value = line.rpartition(" ")
            series = _series(labelled) if len(labelled) <= MAX_LABELS else None
            if series is not None and series[0] in required_kinds:
                counts[series] = counts.get(series, 0.0) + _number(value)
                if len(counts) > MAX_SERIES:
                    raise NotScoringServer(f"its /metrics has more than {MAX_SERIES:,} series")
        elif line.startswith(_STARTED):
            started = _number(line.rpartition(" ")[2])
    if not any(series[0] == REQUESTS for series in counts):
        raise NotScoringServer("its /metrics has no sluicegate_scorer_requests_total")
    return PodCounts(counts, started)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value >= 0 else 0.0


@lru_cache(maxsize=32768)
def _series(labelled: str) -> Series | None:
    """Return the series that a line's name and labels describe.

    None means that they are malformed, or that analysis does not use them.
    """
    try:
        samples = [sample for family in text_string_to_metric_families(f"{labelled} 0\n") for sample in family.samples]
    except ValueError:
        return None
    return of_labels(samples[0].name, samples[0].labels) if len(samples) == 1 else None


def of_labels(name: str, labels: dict[str, str]) -> Series | None:
    """Return the series of a sample's name and labels.

    None means that analysis does not use the sample. A missing label counts as an empty one. Prometheus omits empty
    labels, such as the error class of successful requests.
    """
    try:
        if name == REQUESTS_TOTAL:
            return (REQUESTS, labels.get("error_class", ""))
        if name == SECONDS_BUCKET:
            return (LATENCY, repr(float(labels["le"])))
        if name == PROFILE_BIN and labels["kind"] in (FEATURE, PREDICTION):
            return (labels["kind"], labels.get("name", ""), labels.get("bin", ""))
    except (KeyError, ValueError):
        return None
    return None
