"""The name of the operator's webhook subscription, and which webhooks it owns."""

import re

from hypothesis import given
from hypothesis import strategies as st
from sluicegate.core.models.webhook_subscription import EVENTS, Hook, hook_name, is_right, own_hooks

NAME, URL = "sluicegate.eu-1", "https://hooks/webhooks/default"
CLUSTERS = st.from_regex(r"[a-zA-Z0-9]([-a-zA-Z0-9._]{0,61}[a-zA-Z0-9])?", fullmatch=True)
NAMESPACES = st.none() | st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
HOOKS = st.builds(
    Hook,
    id=st.uuids().map(str),
    name=st.sampled_from([NAME, "sluicegate.eu-2", "theirs"]),
    url=st.sampled_from([URL, "https://elsewhere"]),
    events=st.sampled_from([EVENTS, frozenset()]),
    active=st.booleans(),
)


@given(CLUSTERS, NAMESPACES)
def test_a_name_is_one_that_mlflow_takes(cluster: str, namespace: str | None) -> None:
    assert re.fullmatch(r"(?=.{1,63}$)[a-z0-9]([a-z0-9._-]*[a-z0-9])?", hook_name(cluster, namespace))


def test_a_long_name_keeps_what_makes_it_different() -> None:
    first, second = (hook_name("a" * 62 + end, None) for end in "bc")
    assert first != second
    assert len(first) <= 63


@given(st.lists(HOOKS))
def test_nobody_elses_is_taken_but_one_for_the_very_same_door_where_there_is_none_of_ours(hooks: list[Hook]) -> None:
    found = own_hooks(hooks, NAME, URL)
    named = [hook for hook in hooks if hook.name == NAME]
    assert list(found) == (named or [hook for hook in hooks if hook.url == URL])
    for each in found:
        assert is_right(each, NAME, URL) == (each == Hook(each.id, NAME, URL, EVENTS, True))
