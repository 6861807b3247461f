"""Durations: what users may write, and what gateways accept."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.api import duration
from sluicegate.api.fields import DURATION_PATTERN, GATEWAY_LIMIT

GEP_2257 = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
REFUSED = re.compile(GATEWAY_LIMIT.expression.partition("'")[2].rpartition("'")[0])


@pytest.mark.parametrize(
    ("text", "written"),
    [("60s", "1m"), ("1d2h3m4s5ms", "26h3m4s5ms"), ("90s", "1m30s"), ("1500ms", "1s500ms"), ("999d9999h", "33975h")],
)
def test_gateways_get_hours_minutes_seconds_and_milliseconds(text: str, written: str) -> None:
    assert duration.gateway(duration.seconds(text)) == written


@given(st.from_regex(DURATION_PATTERN, fullmatch=True, alphabet=st.characters(max_codepoint=127)).filter(bool))
def test_every_timeout_that_is_let_in_can_be_written(text: str) -> None:
    if not REFUSED.search(text):
        written = duration.gateway(duration.seconds(text))
        assert GEP_2257.fullmatch(written)
        assert duration.seconds(written) == pytest.approx(duration.seconds(text))
