"""The live view of a rollout: its data, and its text.

The data have no clock. The text fits terminals of any width.
"""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sluicegate.api.resource import decode
from sluicegate.api.rollout import Step
from sluicegate.cli.commands.get import Picture, Scope, measures, picture
from sluicegate.cli.output import live_metrics, rollout_view, step_text
from sluicegate.cli.output.live_metrics import LiveMetrics, Reading
from sluicegate.cli.output.rollout_layout import figure
from sluicegate.cli.output.rollout_view import DEFAULT_SHELL, Shell
from sluicegate.cli.output.text import Piece, Size, plain, wrapped
from sluicegate.kube.kinds import EVENT, MODEL_DEPLOYMENT, POD

from tests.support.rollout_status import HOLDING, NEXT, PAUSED, ROLLED_BACK, STABLE, raw

NOW = datetime(2026, 3, 1, 12, 30, 0, tzinfo=UTC)
METRICS = """\
# HELP sluicegate_analysis_value What it measured.
# TYPE sluicegate_analysis_value gauge
sluicegate_analysis_value{metric="errors",name="churn",namespace="shop",side="candidate"} 0.0031
sluicegate_analysis_value{metric="errors",name="churn",namespace="shop",side="stable"} 0.001
sluicegate_analysis_value{metric="latency",name="churn",namespace="shop",side="candidate"} 0.0812
sluicegate_analysis_value{metric="latency",name="churn",namespace="shop",side="stable"} NaN
sluicegate_analysis_limit{metric="errors",name="churn",namespace="shop"} 0.01
sluicegate_analysis_samples{metric="errors",name="churn",namespace="shop"} 512.0
sluicegate_analysis_samples{metric="latency",name="churn",namespace="shop"} 12.0
sluicegate_analysis_outcome{metric="errors",name="churn",namespace="shop",outcome="Passed"} 1.0
sluicegate_analysis_outcome{metric="errors",name="churn",namespace="shop",outcome="Failed"} 0.0
sluicegate_analysis_outcome{metric="latency",name="churn",namespace="shop",outcome="Inconclusive"} 1.0
sluicegate_analysis_value{metric="errors",name="churn-2",namespace="shop",side="candidate"} 0.9
sluicegate_analysis_value{metric="errors",name="churn",namespace="other",side="candidate"} 0.9
sluicegate_rollout_requests_share{name="churn",namespace="shop",revision="nqrstvwxz2"} 24.6
sluicegate_rollout_requests_share{name="churn",namespace="shop",revision="bcdfghjklm"} 75.4
sluicegate_writes_total{kind="Deployment",outcome="ok"} 3.0
"""
LIVE = LiveMetrics(live_metrics.parsed(METRICS, "shop", "churn"))
REFUSED = LiveMetrics(unknown="no permission to get pods/proxy in namespace sluicegate-system (forbidden)")

HOLDS = """\
Name       shop/churn
Ready      False, Holding
Available  Unknown
Model      models:/churn@champion is churn version 8
URL        http://models.example.com/shop/churn
Address    http://churn.shop.svc
Rollout    Holding at step 2 of 4 (25%, hold 10m) for 6m, 4m10s left
Weight     25% set, 25% accepted, 24.6% measured
Analysis   Passed, 40s ago: errors: 0.2% of 420 requests failed. The limit is 1%.
Next       sluicegate promote churn   continues with step 3 without waiting
           sluicegate pause churn     holds the rollout at this step
           sluicegate abort churn     returns all requests to stable
Message    Holding: Step 2 of 4.

STEP   WEIGHT   ACTION
✓ 1    5%       hold 5m
▶ 2    25%      hold 10m, 4m10s left
  3    25%      pause until promoted
  4    50%      mirror 10%, hold 10m
       100%     become stable

METRIC    OUTCOME        VALUE    STABLE   LIMIT   SAMPLES
errors    Passed         0.31%    0.1%     1%      512
latency   Inconclusive   81.2ms   -        -       12
drift     - (dry run)    -        -        0.2     -

REVISION              STATE       MODEL     WEIGHT   ACCEPTED   MEASURED   READY   RESTARTS   AGE   NODE
churn-nqrstvwxz2 #8   Candidate   churn/8   25%      25%        24.6%      2/2     -          -     -
churn-bcdfghjklm #7   Stable      churn/7   75%      75%        75.4%      2/2     -          -     -
"""

NARROW = """\
Name       shop/churn
Ready      False, Holding
Available  Unknown
Model      models:/churn@champion is churn version 8
URL        http://models.example.com/shop/churn
Address    http://churn.shop.svc
Rollout    Paused at step 3 of 4 (pause until promoted)
           for 6m
Weight     25% set, 25% accepted
Cause      Step 3 waits for approval.
Analysis   Passed, 40s ago: errors: 0.2% of 420 requests
           failed. The limit is 1%.
Next       sluicegate promote churn -n shop   continues
           with step 4
           sluicegate abort churn -n shop     returns all
           requests to stable
Message    Holding: Step 2 of 4.

STEP   WEIGHT   ACTION
✓ 1    5%       hold 5m
✓ 2    25%      hold 10m
▶ 3    25%      pause until promoted
  4    50%      mirror 10%, hold 10m
       100%     become stable

METRIC    OUTCOME       VALUE   STABLE   LIMIT   SAMPLES
errors    Passed        0.2%    0.1%     1%      420
latency   -             -       -        -       -
drift     - (dry run)   -       -        0.2     -
Not live, from status: no permission to get pods/proxy in
  namespace sluicegate-system (forbidden).

REVISION              STATE       ACCEPTED   READY
churn-nqrstvwxz2 #8   Candidate   25%        2/2
churn-bcdfghjklm #7   Stable      75%        2/2
"""

ROLLED_BACK_TEXT = """\
Rollout    RolledBack at step 2 of 4 (25%, hold 10m) for 6m
Cause      Rolled back at step 2 of 4 (25% of the requests): errors: 9% of 300 requests failed. \
The limit is 1%.
Analysis   Failed, 40s ago: errors: 9% of 300 requests failed. The limit is 1%.
Next       sluicegate retry churn   tries again from the first step
Message    Holding: Step 2 of 4.

STEP   WEIGHT   ACTION
✓ 1    5%       hold 5m
✗ 2    25%      hold 10m
  3    25%      pause until promoted
  4    50%      mirror 10%, hold 10m
       100%     become stable

METRIC    OUTCOME       VALUE   STABLE   LIMIT   SAMPLES
errors    Failed        9%      0.1%     1%      300
latency   -             -       -        -       -
drift     - (dry run)   -       -        0.2     -
"""


def _shown(resource: dict[str, Any], live: LiveMetrics = LIVE, shell: Shell = DEFAULT_SHELL) -> Picture:
    view = picture(Scope("churn", "shop", shell=shell), {MODEL_DEPLOYMENT: [resource], POD: [], EVENT: []}, live=live)
    assert view is not None
    return view


def test_holding_step_with_live_values() -> None:
    assert plain(_shown(raw(HOLDING)).lines(NOW)) == HOLDS


def test_pause_on_a_narrow_terminal_without_live_values() -> None:
    assert plain(_shown(raw(PAUSED), REFUSED, Shell(namespace=" -n shop")).lines(NOW, Size(58))) == NARROW


def test_rolled_back_rollout_shows_its_measurement() -> None:
    text = plain(_shown(raw(ROLLED_BACK, "Failed"), REFUSED).lines(NOW))
    assert ROLLED_BACK_TEXT in text
    assert "Not live" not in text


def test_cause_with_the_reason_of_a_condition_is_left_out() -> None:
    resource = raw(PAUSED)
    resource["status"]["conditions"][0] |= {"reason": PAUSED["reason"], "message": "Step 3 of 4 is paused."}
    text = plain(_shown(resource).lines(NOW))
    assert "Cause" not in text
    assert f"Message    {PAUSED['reason']}: Step 3 of 4 is paused." in text


def test_view_has_no_clock() -> None:
    assert _shown(raw(HOLDING)) == _shown(raw(HOLDING))
    other = copy.deepcopy(HOLDING)
    other["stepIndex"] = 2
    assert _shown(raw(HOLDING)) != _shown(raw(other))
    assert _shown(raw(HOLDING)) != _shown(raw(HOLDING), REFUSED)


@pytest.mark.parametrize("width", [20, 30, 40, 58, 72, 80, 100, 120, 200])
@pytest.mark.parametrize("rollout", [HOLDING, PAUSED, ROLLED_BACK])
def test_lines_fit_the_width_and_no_word_is_lost(width: int, rollout: dict[str, Any]) -> None:
    resource = raw(rollout)
    text = plain(_shown(resource, REFUSED).lines(NOW, Size(width)))
    assert max(map(len, text.splitlines())) <= width
    live = "pods/proxy in namespace sluicegate-system" if rollout is not ROLLED_BACK else "RolledBack"
    for sentence in (live, str(rollout["analysis"]["message"])):
        assert "".join(sentence.split()) in "".join(text.split())


@pytest.mark.parametrize("height", [16, 18, 20, 22, 24, 26, 28, 30, 40])
def test_low_terminal_keeps_the_step_and_the_revisions(height: int) -> None:
    text = plain(_shown(raw(HOLDING)).lines(NOW, Size(100, height)))
    assert height < 20 or len(text.splitlines()) <= height
    for part in ("Holding at step 2 of 4", "▶ 2", "latency", f"churn-{NEXT} #8", f"churn-{STABLE} #7"):
        assert part in text
    assert ("http://churn.shop.svc" in text) == (height >= 29)
    assert ("  4    50%" in text) == (height >= 21)


@given(st.text("ab é", max_size=80), st.integers(1, 60), st.integers(0, 30))
@example("     aa", 1, 0)
def test_wrapping_keeps_every_letter(text: str, width: int, indent: int) -> None:
    width = max(width, 4)
    made = [plain([line]).rstrip("\n") for line in wrapped([Piece(text)], width, indent)]
    assert "".join("".join(made).split()) == "".join(text.split())
    assert all(len(line) <= width for line in made)


@pytest.mark.parametrize(
    ("changes", "more", "commands"),
    [
        ({}, {}, ["promote", "pause", "abort"]),
        ({"phase": "Scaling"}, {}, ["pause", "abort"]),
        ({"phase": "Promoting", "stepIndex": 4}, {}, ["abort"]),
        ({}, {"annotations": {"sluicegate.dev/pause": NEXT}}, ["resume", "abort"]),
        ({}, {"paused": True}, ["abort"]),
        ({"phase": "Failed"}, {"role": "Failed"}, ["retry"]),
        ({"phase": "Aborted"}, {}, ["retry"]),
    ],
)
def test_commands_that_make_sense_are_listed(
    changes: dict[str, Any], more: dict[str, Any], commands: list[str]
) -> None:
    view = rollout_view.progress(decode(raw({**HOLDING, **changes}, **more)), LIVE)
    assert view is not None
    assert [each.command.split()[1] for each in view.next] == commands


def test_commands_repeat_how_the_user_called_the_program() -> None:
    view = rollout_view.progress(decode(raw()), LIVE, Shell("kubectl sluicegate", " -n shop"))
    assert view is not None
    assert view.next[0].command == "kubectl sluicegate promote churn -n shop"


def test_no_rollout_is_shown_at_rest_or_without_steps() -> None:
    assert rollout_view.progress(decode(raw({"phase": "Idle"})), LIVE) is None
    assert rollout_view.progress(decode(raw(no_steps=True)), LIVE) is None
    assert measures(Scope("churn", "shop"), {MODEL_DEPLOYMENT: [raw()]})
    assert not measures(Scope("churn", "shop"), {MODEL_DEPLOYMENT: [raw(ROLLED_BACK)]})
    assert not measures(Scope(None, "shop"), {MODEL_DEPLOYMENT: [raw()]})


def test_series_of_other_resources_are_ignored() -> None:
    assert LIVE.measured is not None
    assert LIVE.measured.metrics == {
        "errors": Reading(0.0031, 0.001, 0.01, 512, "Passed"),
        "latency": Reading(0.0812, None, None, 12, "Inconclusive"),
    }
    assert LIVE.measured.shares == {NEXT: 24.6, STABLE: 75.4}
    assert live_metrics.parsed(METRICS, "shop", "chur") is None
    assert live_metrics.parsed("", "shop", "churn") is None


def test_values_have_the_unit_of_their_metric() -> None:
    values = [
        figure(*each) for each in (("ErrorRate", 0.0123), ("LatencyP99", 0.25), ("LatencyP50", 1.5), ("Drift", 0.1))
    ]
    assert values == ["1.23%", "250ms", "1.5s", "0.1"]
    assert figure("Query", None) == "-"


def test_steps_as_text() -> None:
    resource = decode(raw())
    assert step_text.listed(resource.spec.rollout.steps or ()) == (
        "5% (hold 5m), 25% (hold 10m), pause until promoted, 50%, mirror 10% (hold 10m)"
    )
    assert step_text.described(Step(match=())) == "no header match"
