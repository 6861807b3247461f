"""The truth tables of the traffic split and of the stable Service's selector.

A row may leave facts out. The rows of a table must cover each combination of facts exactly once.
"""

from itertools import product
from typing import Any

from sluicegate.core.decide.traffic import (
    NextSplit,
    Selection,
    Selector,
    Serving,
    StableGain,
    next_selector,
    next_split,
)

BOTH = (False, True)
GAIN = {"has_endpoints": BOTH, "able": BOTH, "can_carry": BOTH, "whole": BOTH, "serving": tuple(Serving)}
SPLITS: list[tuple[dict[str, Any], NextSplit]] = [
    # Stable has no endpoints: nothing else may lose requests to it.
    ({"has_endpoints": False, "whole": True}, NextSplit.KEEP),
    ({"has_endpoints": False, "whole": False}, NextSplit.WAIT),
    # There is no split yet, or no backend in it serves: stable is as good as any.
    ({"has_endpoints": True, "whole": False}, NextSplit.APPLY),
    ({"has_endpoints": True, "whole": True, "serving": Serving.NONE}, NextSplit.APPLY),
    # Some backends serve: their requests go to stable once it is able.
    ({"has_endpoints": True, "whole": True, "serving": Serving.SOME, "able": False}, NextSplit.KEEP),
    ({"has_endpoints": True, "whole": True, "serving": Serving.SOME, "able": True}, NextSplit.APPLY),
    # All backends serve: stable must also be able to carry their requests.
    ({"has_endpoints": True, "whole": True, "serving": Serving.ALL, "able": False}, NextSplit.KEEP),
    ({"has_endpoints": True, "whole": True, "serving": Serving.ALL, "able": True, "can_carry": False}, NextSplit.KEEP),
    ({"has_endpoints": True, "whole": True, "serving": Serving.ALL, "able": True, "can_carry": True}, NextSplit.APPLY),
]

SELECTION = {
    "now": tuple(Selector),
    **dict.fromkeys(("ready", "listed", "other_ready", "candidate_pods", "other_pods"), BOTH),
}
SELECTORS: list[tuple[dict[str, Any], Selector]] = [
    ({"now": Selector.WANTED}, Selector.WANTED),
    # From all to the wanted revision: it must be ready, and listed unless pods of a candidate are selected too.
    ({"now": Selector.ALL, "ready": False}, Selector.ALL),
    ({"now": Selector.ALL, "ready": True, "listed": True}, Selector.WANTED),
    ({"now": Selector.ALL, "ready": True, "listed": False, "candidate_pods": True}, Selector.WANTED),
    ({"now": Selector.ALL, "ready": True, "listed": False, "candidate_pods": False}, Selector.ALL),
    # From another revision: stay while only that one is ready.
    ({"now": Selector.OTHER, "ready": False, "other_ready": True}, Selector.OTHER),
    ({"now": Selector.OTHER, "ready": False, "other_ready": False}, Selector.WANTED),
    # The wanted one is ready: by way of all, unless that selects pods that must get no requests.
    ({"now": Selector.OTHER, "ready": True, "other_pods": True}, Selector.WANTED),
    ({"now": Selector.OTHER, "ready": True, "other_pods": False}, Selector.ALL),
]


def _expected(rows: list[tuple[dict[str, Any], Any]], facts: dict[str, Any]) -> Any:
    outcomes = [outcome for row, outcome in rows if row.items() <= facts.items()]
    assert len(outcomes) == 1, f"{len(outcomes)} rows for {facts}"
    return outcomes[0]


def _combinations(fields: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(fields, values, strict=True)) for values in product(*fields.values())]


def test_split_that_gives_stable_more_requests_follows_the_table() -> None:
    for facts in _combinations(GAIN):
        assert next_split(StableGain(**facts)) is _expected(SPLITS, facts), facts


def test_selector_of_the_stable_service_follows_the_table() -> None:
    for facts in _combinations(SELECTION):
        assert next_selector(Selection(**facts)) is _expected(SELECTORS, facts), facts
