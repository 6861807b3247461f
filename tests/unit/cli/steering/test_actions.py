"""What promote, abort, pause, resume and retry write and print.

All of them are pure functions of the current state.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.cli.cluster import Failed
from sluicegate.cli.commands.retry import again, marks
from sluicegate.cli.main import parsed
from sluicegate.cli.steering import actions
from sluicegate.cli.steering.actions import Order
from sluicegate.cli.steering.revisions import History

from tests.support.rollout_status import HOLDING, NEXT, OLD, PAUSED, ROLLED_BACK, STABLE, known

PROMOTE, ABORT, PAUSE, RETRY = (f"sluicegate.dev/{each}" for each in ("promote", "abort", "pause", "retry"))
CANARY: dict[str, Any] = {"canary": {"weight": 10}, "no_steps": True}


def _told(order: Order) -> str:
    return " ".join(order.told)


def test_promote_goes_on_past_the_step_that_it_is_at() -> None:
    order = actions.promote(known(), full=False)
    assert order.annotations == {PROMOTE: f"{NEXT}/2"}
    assert order.told == (
        f"shop/churn: churn-{NEXT} #8 (churn/8) goes on past step 2 of 4 (25%, hold 10m), "
        "without waiting for its hold, its pause or its analysis. Next, step 3: pause until promoted.",
    )
    assert "its pause is over. Next, step 4: 50%, copies of 10%, hold 10m" in _told(
        actions.promote(known(PAUSED), full=False)
    )
    last = {**HOLDING, "stepIndex": 3}
    assert "Next, it takes over whole." in _told(actions.promote(known(last), full=False))
    starting = {"phase": "Waiting", "target": NEXT}
    first = actions.promote(known(starting), full=False)
    assert first.annotations == {PROMOTE: f"{NEXT}/1"}
    assert "once it has that share" in _told(first)


def test_promote_full_skips_what_is_left() -> None:
    order = actions.promote(known(), full=True)
    assert order.annotations == {PROMOTE: NEXT}
    assert "skips what is left (steps 2 to 4) and its analysis" in _told(order)
    assert f"churn-{STABLE} #7 (churn/7) drains after that." in _told(order)


def test_promote_ends_a_pause_that_a_person_began() -> None:
    order = actions.promote(known(annotations={PAUSE: f"churn-{NEXT}"}), full=False)
    assert order.annotations == {PROMOTE: f"{NEXT}/2", PAUSE: None}
    assert "which held it, is removed" in _told(order)


@pytest.mark.parametrize("value", [f"{NEXT}/2", f"churn-{NEXT}/2"])
def test_the_same_order_twice_says_the_same(value: str) -> None:
    again_ = actions.promote(known(annotations={PROMOTE: value}), full=False)
    assert again_.annotations == {}
    assert "nothing was changed" in _told(again_)


def test_what_names_another_revision_is_removed_on_the_way() -> None:
    stale = {PROMOTE: f"{OLD}/1", ABORT: OLD, PAUSE: f"churn-{OLD}"}
    order = actions.promote(known(annotations=stale), full=False)
    assert order.annotations == {PROMOTE: f"{NEXT}/2", ABORT: None, PAUSE: None}
    assert f"The annotation {ABORT} named {OLD}" in _told(order)
    assert actions.abort(known(annotations=stale)).annotations == {ABORT: NEXT, PROMOTE: None, PAUSE: None}
    # Resume keeps the abort annotation of a revision that was given up.
    aborted = known(ROLLED_BACK, "Failed", annotations={ABORT: NEXT, PAUSE: OLD})
    assert actions.resume(aborted).annotations == {PAUSE: None}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (known(**CANARY), "write what spec.canary changes into the base and remove spec.canary"),
        (
            known({"phase": "Idle"}, "Parked"),
            r"no rollout of churn is under way \(churn-bcdfghjklm #7 \(churn/7\) serves\)",
        ),
        (known(ROLLED_BACK, "Failed"), "9 % of 300 requests failed.*`sluicegate retry churn` tries it again"),
        (known({"phase": "Waiting", "target": NEXT}, no_steps=True), "because there is no spec.rollout.steps"),
        (known(paused=True), "spec.paused of churn is true"),
        (known(annotations={"sluicegate.dev/pin": STABLE}), "`sluicegate unpin churn` first"),
        (known(annotations={ABORT: NEXT}), "was aborted: `sluicegate retry churn`"),
        (known({**HOLDING, "phase": "Promoting", "stepIndex": 4}), "takes over already"),
        (known(annotations={PROMOTE: NEXT}), "is promoted whole already"),
    ],
)
def test_promote_refuses_with_what_to_do_instead(found: History, words: str) -> None:
    with pytest.raises(Failed, match=words):
        actions.promote(found, full=False)


def test_abort_sends_all_requests_back() -> None:
    order = actions.abort(known(annotations={PROMOTE: NEXT, PAUSE: NEXT}))
    assert order.annotations == {ABORT: NEXT, PROMOTE: None, PAUSE: None}
    assert order.told == (
        f"shop/churn: the rollout of churn-{NEXT} #8 (churn/8) ends at step 2 of 4 (25%, hold 10m), "
        f"and all requests go back to churn-{STABLE} #7 (churn/7).",
        "It is not tried again until the model or the spec asks for something else, or by `sluicegate retry churn`.",
    )
    assert "nothing was changed" in _told(actions.abort(known(annotations={ABORT: NEXT})))
    aborted = known({**ROLLED_BACK, "reason": "Aborted"}, "Failed", annotations={ABORT: NEXT})
    assert "nothing was changed" in _told(actions.abort(aborted))


def test_abort_of_a_declared_canary_takes_its_requests() -> None:
    order = actions.abort(known({"phase": "Idle"}, "Canary", **CANARY))
    assert order.annotations == {ABORT: NEXT}
    assert "gets no requests until spec.canary changes" in _told(order)


def test_abort_refuses_where_there_is_nothing_to_go_back_from_or_to() -> None:
    with pytest.raises(Failed, match=r"nothing to abort.*sluicegate rollback churn"):
        actions.abort(known({"phase": "Idle"}, "Parked"))
    first = known({"phase": "Waiting", "target": NEXT})
    alone = History(first.resource, tuple(each for each in first.entries if each.hash == NEXT), None, None)
    with pytest.raises(Failed, match="nothing to go back to"):
        actions.abort(alone)


def test_pause_and_resume() -> None:
    held = actions.pause(known(annotations={PROMOTE: f"{NEXT}/2"}))
    assert held.annotations == {PAUSE: NEXT, PROMOTE: None}
    assert "stays at step 2 of 4" in _told(held)
    assert "by which it would have gone on, is removed" in _told(held)
    assert "nothing was changed" in _told(actions.pause(known(annotations={PAUSE: NEXT})))
    free = actions.resume(known(annotations={PAUSE: NEXT}))
    assert free.annotations == {PAUSE: None}
    assert "is over. It goes on from step 2 of 4" in _told(free)
    at_pause = actions.resume(known(PAUSED, annotations={PAUSE: NEXT}))
    assert "waits for a person all the same: sluicegate promote churn" in _told(at_pause)
    assert actions.resume(known()).told == ("shop/churn: it is not paused: nothing was changed.",)
    with pytest.raises(Failed, match=r"`sluicegate promote churn` goes on"):
        actions.resume(known(PAUSED))
    with pytest.raises(Failed, match=r"set it to false there"):
        actions.resume(known(paused=True))
    with pytest.raises(Failed, match="is under way"):
        actions.pause(known({"phase": "Idle"}, "Parked"))


def test_retry_lifts_an_abort_too() -> None:
    aborted = known({**ROLLED_BACK, "reason": "Aborted"}, "Failed", annotations={ABORT: NEXT, PROMOTE: NEXT})
    assert marks(aborted, again(aborted)) == {RETRY: NEXT, ABORT: None, PROMOTE: None}
    rolled_back = known(ROLLED_BACK, "Failed")
    assert marks(rolled_back, again(rolled_back)) == {RETRY: NEXT}
    canary = known({"phase": "Idle"}, "Canary", annotations={ABORT: NEXT}, **CANARY)
    assert marks(canary, again(canary)) == {ABORT: None}
    with pytest.raises(Failed, match="nothing to try again"):
        again(known())


@given(
    annotations=st.dictionaries(
        st.sampled_from([PROMOTE, ABORT, PAUSE, RETRY]),
        st.sampled_from([NEXT, OLD, STABLE, f"churn-{NEXT}", f"{NEXT}/1", f"{NEXT}/2", f"{OLD}/3", "", "odd/odd"]),
    ),
    phase=st.sampled_from(
        ["Waiting", "Scaling", "Shifting", "Holding", "Paused", "Promoting", "RolledBack", "Failed", "Idle"]
    ),
    index=st.sampled_from([None, 0, 1, 2, 3, 4]),
    verb=st.sampled_from(["promote", "full", "abort", "pause", "resume"]),
)
def test_any_order_given_twice_changes_nothing_the_second_time(
    annotations: dict[str, str], phase: str, index: int | None, verb: str
) -> None:
    rollout = {"phase": phase, "target": NEXT, **({} if index is None else {"stepIndex": index})}
    before = dict(annotations)
    for turn in range(2):
        try:
            order = _given(known(rollout, annotations=before), verb)
        except Failed as refused:
            assert str(refused)
            return
        assert all(each.strip() for each in order.told)
        assert set(order.annotations) <= {PROMOTE, ABORT, PAUSE, RETRY}
        assert turn == 0 or not order.annotations
        changed = before | order.annotations
        before = {key: value for key, value in changed.items() if value is not None}
        assert (
            all(each.partition("/")[0].removeprefix("churn-") == NEXT for each in before.values()) or verb == "resume"
        )


def _given(found: History, verb: str) -> Order:
    if verb in ("promote", "full"):
        return actions.promote(found, full=verb == "full")
    order: Order = getattr(actions, verb)(found)
    return order


def test_the_command_line() -> None:
    assert parsed(["promote", "churn", "--full"]).full
    assert parsed(["promote", "-n", "shop", "churn"]).name == "churn"
