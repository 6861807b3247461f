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

from tests.support.rollout_status import HOLDING, NEXT, OLD, PAUSED, ROLLED_BACK, STABLE, history_in

PROMOTE, ABORT, PAUSE, RETRY = (f"sluicegate.dev/{each}" for each in ("promote", "abort", "pause", "retry"))
CANARY: dict[str, Any] = {"canary": {"weight": 10}, "no_steps": True}


def _printed(action: Action) -> str:
    return " ".join(action.lines)


def test_promote_continues_past_the_current_step() -> None:
    action = actions.promote(history_in(), full=False)
    assert action.annotations == {PROMOTE: f"{NEXT}/2"}
    assert action.lines == (
        f"shop/churn: churn-{NEXT} #8 (churn/8) continues past step 2 of 4 (25%, hold 10m), "
        "without waiting for its hold, its pause or its analysis. Next: step 3 (pause until promoted).",
    )
    assert "and its pause ends. Next: step 4 (50%, mirror 10%, hold 10m)." in _printed(
        actions.promote(history_in(PAUSED), full=False)
    )
    last = {**HOLDING, "stepIndex": 3}
    assert "Next: it becomes stable." in _printed(actions.promote(history_in(last), full=False))
    starting = {"phase": "Waiting", "candidate": NEXT}
    first = actions.promote(history_in(starting), full=False)
    assert first.annotations == {PROMOTE: f"{NEXT}/1"}
    assert "once it has that share" in _printed(first)


def test_promote_full_skips_the_remaining_steps() -> None:
    action = actions.promote(history_in(), full=True)
    assert action.annotations == {PROMOTE: NEXT}
    assert "skips steps 2 to 4 and the analysis" in _printed(action)
    assert f"churn-{STABLE} #7 (churn/7) drains after that." in _printed(action)


def test_promote_ends_a_pause_of_the_user() -> None:
    action = actions.promote(history_in(annotations={PAUSE: f"churn-{NEXT}"}), full=False)
    assert action.annotations == {PROMOTE: f"{NEXT}/2", PAUSE: None}
    assert f"Removed the annotation {PAUSE}, which held the rollout." in _printed(action)


@pytest.mark.parametrize("value", [f"{NEXT}/2", f"churn-{NEXT}/2"])
def test_repeated_promote_changes_nothing(value: str) -> None:
    repeated = actions.promote(history_in(annotations={PROMOTE: value}), full=False)
    assert repeated.annotations == {}
    assert "nothing was changed" in _printed(repeated)


def test_annotations_of_other_revisions_are_removed() -> None:
    stale = {PROMOTE: f"{OLD}/1", ABORT: OLD, PAUSE: f"churn-{OLD}"}
    action = actions.promote(history_in(annotations=stale), full=False)
    assert action.annotations == {PROMOTE: f"{NEXT}/2", ABORT: None, PAUSE: None}
    assert f"Removed the annotation {ABORT}, which named {OLD}" in _printed(action)
    assert actions.abort(history_in(annotations=stale)).annotations == {ABORT: NEXT, PROMOTE: None, PAUSE: None}
    # Resume keeps the abort annotation of a revision that was given up.
    aborted = history_in(ROLLED_BACK, "Failed", annotations={ABORT: NEXT, PAUSE: OLD})
    assert actions.resume(aborted).annotations == {PAUSE: None}


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (history_in(**CANARY), "move the content of spec.canary into the base of the spec and remove spec.canary"),
        (
            history_in({"phase": "Idle"}, "Parked"),
            r"no rollout of churn is in progress \(churn-bcdfghjklm #7 \(churn/7\) is stable\)",
        ),
        (
            history_in(ROLLED_BACK, "Failed"),
            "9% of 300 requests failed.*`sluicegate retry churn -n shop` to try it again",
        ),
        (history_in({"phase": "Waiting", "candidate": NEXT}, no_steps=True), "because spec.rollout.steps is not set"),
        (history_in(paused=True), "spec.paused of churn is true"),
        (history_in(annotations={"sluicegate.dev/pin": STABLE}), "`sluicegate unpin churn -n shop` first"),
        (history_in(annotations={ABORT: NEXT}), "was aborted: run `sluicegate retry churn -n shop`"),
        (history_in({**HOLDING, "phase": "Promoting", "stepIndex": 4}), "becomes stable already"),
        (history_in(annotations={PROMOTE: NEXT}), "is promoted past all steps already"),
    ],
)
def test_promote_error_names_what_to_do_instead(history: History, message: str) -> None:
    with pytest.raises(Failed, match=message):
        actions.promote(history, full=False)


def test_abort_returns_all_requests() -> None:
    action = actions.abort(history_in(annotations={PROMOTE: NEXT, PAUSE: NEXT}))
    assert action.annotations == {ABORT: NEXT, PROMOTE: None, PAUSE: None}
    assert action.lines == (
        f"shop/churn: the rollout of churn-{NEXT} #8 (churn/8) ends at step 2 of 4 (25%, hold 10m), "
        f"and all requests return to churn-{STABLE} #7 (churn/7).",
        "It is not tried again until the model or the spec resolves to another revision, or you run "
        "`sluicegate retry churn -n shop`.",
    )
    assert "nothing was changed" in _printed(actions.abort(history_in(annotations={ABORT: NEXT})))
    aborted = history_in({**ROLLED_BACK, "reason": "Aborted"}, "Failed", annotations={ABORT: NEXT})
    assert "nothing was changed" in _printed(actions.abort(aborted))


def test_abort_of_a_declared_canary() -> None:
    action = actions.abort(history_in({"phase": "Idle"}, "Canary", **CANARY))
    assert action.annotations == {ABORT: NEXT}
    assert "gets no requests until spec.canary changes" in _printed(action)


def test_abort_fails_without_a_rollout_or_a_stable_revision() -> None:
    with pytest.raises(Failed, match=r"nothing to abort.*sluicegate history churn -n shop"):
        actions.abort(history_in({"phase": "Idle"}, "Parked"))
    first = history_in({"phase": "Waiting", "candidate": NEXT})
    alone = History(
        first.resource, tuple(revision for revision in first.revisions if revision.hash == NEXT), None, None
    )
    with pytest.raises(Failed, match="none to return to"):
        actions.abort(alone)


def test_pause_and_resume() -> None:
    held = actions.pause(history_in(annotations={PROMOTE: f"{NEXT}/2"}))
    assert held.annotations == {PAUSE: NEXT, PROMOTE: None}
    assert "stays at step 2 of 4" in _printed(held)
    assert f"Removed the annotation {PROMOTE}, which would have continued the rollout." in _printed(held)
    assert "nothing was changed" in _printed(actions.pause(history_in(annotations={PAUSE: NEXT})))
    free = actions.resume(history_in(annotations={PAUSE: NEXT}))
    assert free.annotations == {PAUSE: None}
    assert "ends. The rollout continues from step 2 of 4" in _printed(free)
    at_pause = actions.resume(history_in(PAUSED, annotations={PAUSE: NEXT}))
    assert "still waits for approval. To continue: sluicegate promote churn -n shop" in _printed(at_pause)
    assert actions.resume(history_in()).lines == ("shop/churn: the rollout is not paused: nothing was changed.",)
    with pytest.raises(Failed, match=r"waits for approval at step 3 of 4 .*`sluicegate promote churn -n shop`"):
        actions.resume(history_in(PAUSED))
    with pytest.raises(Failed, match=r"set it to false in the spec"):
        actions.resume(history_in(paused=True))
    with pytest.raises(Failed, match="is in progress"):
        actions.pause(history_in({"phase": "Idle"}, "Parked"))


def test_retry_removes_an_abort() -> None:
    aborted = history_in({**ROLLED_BACK, "reason": "Aborted"}, "Failed", annotations={ABORT: NEXT, PROMOTE: NEXT})
    assert marks(aborted, to_retry(aborted)) == {RETRY: NEXT, ABORT: None, PROMOTE: None}
    rolled_back = history_in(ROLLED_BACK, "Failed")
    assert marks(rolled_back, to_retry(rolled_back)) == {RETRY: NEXT}
    canary = history_in({"phase": "Idle"}, "Canary", annotations={ABORT: NEXT}, **CANARY)
    assert marks(canary, to_retry(canary)) == {ABORT: None}
    with pytest.raises(Failed, match="nothing to retry"):
        to_retry(history_in())


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
def test_repeated_action_changes_nothing(annotations: dict[str, str], phase: str, index: int | None, verb: str) -> None:
    rollout = {"phase": phase, "candidate": NEXT, **({} if index is None else {"stepIndex": index})}
    before = dict(annotations)
    for turn in range(2):
        try:
            action = _decide(history_in(rollout, annotations=before), verb)
        except Failed as refused:
            assert str(refused)
            return
        assert all(line.strip() for line in action.lines)
        assert set(action.annotations) <= {PROMOTE, ABORT, PAUSE, RETRY}
        assert turn == 0 or not action.annotations
        changed = before | action.annotations
        before = {key: value for key, value in changed.items() if value is not None}
        assert (
            all(each.partition("/")[0].removeprefix("churn-") == NEXT for each in before.values()) or verb == "resume"
        )


def _decide(history: History, verb: str) -> Action:
    if verb in ("promote", "full"):
        return actions.promote(history, full=verb == "full")
    action: Action = getattr(actions, verb)(history)
    return action


def test_command_line() -> None:
    assert parsed(["promote", "churn", "--full"]).full
    assert parsed(["promote", "-n", "shop", "churn"]).name == "churn"
