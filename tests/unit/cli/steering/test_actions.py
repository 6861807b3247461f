"""What promote, abort, pause, resume and retry write and print.

All of them are pure functions of the current state.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.cli.cluster import Failed
from sluicegate.cli.commands.retry import marks, to_retry
from sluicegate.cli.main import parsed
from sluicegate.cli.steering import actions
from sluicegate.cli.steering.actions import Action
from sluicegate.cli.steering.revisions import History

from tests.support.rollout_status import HOLDING, NEXT, OLD, PAUSED, ROLLED_BACK, STABLE, known

PROMOTE, ABORT, PAUSE, RETRY = (f"sluicegate.dev/{each}" for each in ("promote", "abort", "pause", "retry"))
CANARY: dict[str, Any] = {"canary": {"weight": 10}, "no_steps": True}


def _told(action: Action) -> str:
    return " ".join(action.lines)


def test_promote_goes_on_past_the_step_that_it_is_at() -> None:
    action = actions.promote(known(), full=False)
    assert action.annotations == {PROMOTE: f"{NEXT}/2"}
    assert action.lines == (
        f"shop/churn: churn-{NEXT} #8 (churn/8) continues past step 2 of 4 (25%, hold 10m), "
        "without waiting for its hold, its pause or its analysis. Next: step 3 (pause until promoted).",
    )
    assert "and its pause ends. Next: step 4 (50%, mirror 10%, hold 10m)." in _told(
        actions.promote(known(PAUSED), full=False)
    )
    last = {**HOLDING, "stepIndex": 3}
    assert "Next: it becomes stable." in _told(actions.promote(known(last), full=False))
    starting = {"phase": "Waiting", "target": NEXT}
    first = actions.promote(known(starting), full=False)
    assert first.annotations == {PROMOTE: f"{NEXT}/1"}
    assert "once it has that share" in _told(first)


def test_promote_full_skips_what_is_left() -> None:
    action = actions.promote(known(), full=True)
    assert action.annotations == {PROMOTE: NEXT}
    assert "skips steps 2 to 4 and the analysis" in _told(action)
    assert f"churn-{STABLE} #7 (churn/7) drains after that." in _told(action)


def test_promote_ends_a_pause_that_a_person_began() -> None:
    action = actions.promote(known(annotations={PAUSE: f"churn-{NEXT}"}), full=False)
    assert action.annotations == {PROMOTE: f"{NEXT}/2", PAUSE: None}
    assert f"Removed the annotation {PAUSE}, which held the rollout." in _told(action)


@pytest.mark.parametrize("value", [f"{NEXT}/2", f"churn-{NEXT}/2"])
def test_the_same_order_twice_says_the_same(value: str) -> None:
    again_ = actions.promote(known(annotations={PROMOTE: value}), full=False)
    assert again_.annotations == {}
    assert "nothing was changed" in _told(again_)


def test_what_names_another_revision_is_removed_on_the_way() -> None:
    stale = {PROMOTE: f"{OLD}/1", ABORT: OLD, PAUSE: f"churn-{OLD}"}
    action = actions.promote(known(annotations=stale), full=False)
    assert action.annotations == {PROMOTE: f"{NEXT}/2", ABORT: None, PAUSE: None}
    assert f"Removed the annotation {ABORT}, which named {OLD}" in _told(action)
    assert actions.abort(known(annotations=stale)).annotations == {ABORT: NEXT, PROMOTE: None, PAUSE: None}
    # Resume keeps the abort annotation of a revision that was given up.
    aborted = known(ROLLED_BACK, "Failed", annotations={ABORT: NEXT, PAUSE: OLD})
    assert actions.resume(aborted).annotations == {PAUSE: None}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (known(**CANARY), "move the content of spec.canary into the base of the spec and remove spec.canary"),
        (
            known({"phase": "Idle"}, "Parked"),
            r"no rollout of churn is in progress \(churn-bcdfghjklm #7 \(churn/7\) is stable\)",
        ),
        (known(ROLLED_BACK, "Failed"), "9 % of 300 requests failed.*`sluicegate retry churn` to try it again"),
        (known({"phase": "Waiting", "target": NEXT}, no_steps=True), "because spec.rollout.steps is not set"),
        (known(paused=True), "spec.paused of churn is true"),
        (known(annotations={"sluicegate.dev/pin": STABLE}), "`sluicegate unpin churn` first"),
        (known(annotations={ABORT: NEXT}), "was aborted: run `sluicegate retry churn`"),
        (known({**HOLDING, "phase": "Promoting", "stepIndex": 4}), "becomes stable already"),
        (known(annotations={PROMOTE: NEXT}), "is promoted past all steps already"),
    ],
)
def test_promote_refuses_with_what_to_do_instead(found: History, words: str) -> None:
    with pytest.raises(Failed, match=words):
        actions.promote(found, full=False)


def test_abort_sends_all_requests_back() -> None:
    action = actions.abort(known(annotations={PROMOTE: NEXT, PAUSE: NEXT}))
    assert action.annotations == {ABORT: NEXT, PROMOTE: None, PAUSE: None}
    assert action.lines == (
        f"shop/churn: the rollout of churn-{NEXT} #8 (churn/8) ends at step 2 of 4 (25%, hold 10m), "
        f"and all requests return to churn-{STABLE} #7 (churn/7).",
        "It is not tried again until the model or the spec resolves to another revision, or you run "
        "`sluicegate retry churn`.",
    )
    assert "nothing was changed" in _told(actions.abort(known(annotations={ABORT: NEXT})))
    aborted = known({**ROLLED_BACK, "reason": "Aborted"}, "Failed", annotations={ABORT: NEXT})
    assert "nothing was changed" in _told(actions.abort(aborted))


def test_abort_of_a_declared_canary_takes_its_requests() -> None:
    action = actions.abort(known({"phase": "Idle"}, "Canary", **CANARY))
    assert action.annotations == {ABORT: NEXT}
    assert "gets no requests until spec.canary changes" in _told(action)


def test_abort_refuses_where_there_is_nothing_to_go_back_from_or_to() -> None:
    with pytest.raises(Failed, match=r"nothing to abort.*sluicegate rollback churn"):
        actions.abort(known({"phase": "Idle"}, "Parked"))
    first = known({"phase": "Waiting", "target": NEXT})
    alone = History(first.resource, tuple(each for each in first.revisions if each.hash == NEXT), None, None)
    with pytest.raises(Failed, match="none to return to"):
        actions.abort(alone)


def test_pause_and_resume() -> None:
    held = actions.pause(known(annotations={PROMOTE: f"{NEXT}/2"}))
    assert held.annotations == {PAUSE: NEXT, PROMOTE: None}
    assert "stays at step 2 of 4" in _told(held)
    assert f"Removed the annotation {PROMOTE}, which would have continued the rollout." in _told(held)
    assert "nothing was changed" in _told(actions.pause(known(annotations={PAUSE: NEXT})))
    free = actions.resume(known(annotations={PAUSE: NEXT}))
    assert free.annotations == {PAUSE: None}
    assert "ends. The rollout continues from step 2 of 4" in _told(free)
    at_pause = actions.resume(known(PAUSED, annotations={PAUSE: NEXT}))
    assert "still waits for approval. To continue: sluicegate promote churn" in _told(at_pause)
    assert actions.resume(known()).lines == ("shop/churn: the rollout is not paused: nothing was changed.",)
    with pytest.raises(Failed, match=r"waits for approval at step 3 of 4 .*`sluicegate promote churn`"):
        actions.resume(known(PAUSED))
    with pytest.raises(Failed, match=r"set it to false in the spec"):
        actions.resume(known(paused=True))
    with pytest.raises(Failed, match="is in progress"):
        actions.pause(known({"phase": "Idle"}, "Parked"))


def test_retry_lifts_an_abort_too() -> None:
    aborted = known({**ROLLED_BACK, "reason": "Aborted"}, "Failed", annotations={ABORT: NEXT, PROMOTE: NEXT})
    assert marks(aborted, to_retry(aborted)) == {RETRY: NEXT, ABORT: None, PROMOTE: None}
    rolled_back = known(ROLLED_BACK, "Failed")
    assert marks(rolled_back, to_retry(rolled_back)) == {RETRY: NEXT}
    canary = known({"phase": "Idle"}, "Canary", annotations={ABORT: NEXT}, **CANARY)
    assert marks(canary, to_retry(canary)) == {ABORT: None}
    with pytest.raises(Failed, match="nothing to retry"):
        to_retry(known())


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
            action = _given(known(rollout, annotations=before), verb)
        except Failed as refused:
            assert str(refused)
            return
        assert all(each.strip() for each in action.lines)
        assert set(action.annotations) <= {PROMOTE, ABORT, PAUSE, RETRY}
        assert turn == 0 or not action.annotations
        changed = before | action.annotations
        before = {key: value for key, value in changed.items() if value is not None}
        assert (
            all(each.partition("/")[0].removeprefix("churn-") == NEXT for each in before.values()) or verb == "resume"
        )


def _given(found: History, verb: str) -> Action:
    if verb in ("promote", "full"):
        return actions.promote(found, full=verb == "full")
    action: Action = getattr(actions, verb)(found)
    return action


def test_the_command_line() -> None:
    assert parsed(["promote", "churn", "--full"]).full
    assert parsed(["promote", "-n", "shop", "churn"]).name == "churn"
