"""Which revision an argument names, and which one a rollback selects.

Both are pure functions of the records and the status.
"""

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from sluicegate.api.resource import decode
from sluicegate.cli.cluster import Failed
from sluicegate.cli.commands import rollback
from sluicegate.cli.commands.history import document, lines
from sluicegate.cli.commands.rollback import choose, pinned_lines, unpinned_lines
from sluicegate.cli.main import parsed
from sluicegate.cli.output.text import plain
from sluicegate.cli.steering.revisions import History, NoSuchRevision, build_history, find, previous
from sluicegate.kube.client import KubeClient

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
A, B, C, DIGITS = "bcdfghjklm", "nqrstvwxz2", "zzzzzzzzzz", "2456789245"


def _status(revision: str, number: int, role: str, **more: Any) -> dict[str, Any]:
    live = {} if role == "Parked" else {"replicas": 2, "readyReplicas": 2}
    stable = {"weight": 100, "acceptedWeight": 100} if role == "Stable" else {}
    named = {"name": f"churn-{revision}", "revision": revision, "number": number, "role": role}
    served = {"model": f"churn/{number}", "version": str(number), "weight": 0, "replicas": 0, "readyReplicas": 0}
    return {**named, **served, **live, **stable, **more}


def _record(revision: str, number: int, version: str, image: str = "scorer:1") -> dict[str, Any]:
    labels = {"sluicegate.dev/deployment": "churn", "sluicegate.dev/revision": revision}
    template = {"spec": {"containers": [{"name": "model", "image": image}]}}
    return {
        "metadata": {
            "name": f"churn-{revision}",
            "namespace": "shop",
            "labels": labels,
            "creationTimestamp": "2026-03-01T10:00:00Z",
        },
        "revision": number,
        "data": {"model": {"display": f"churn/{version}", "version": version}, "template": template},
    }


def _history(*statuses: dict[str, Any], records: Any = None, phase: str = "Idle", annotations: Any = None) -> History:
    resource = decode(
        {
            "metadata": {"name": "churn", "namespace": "shop", "annotations": annotations or {}},
            "spec": {"model": {"uri": "models:/churn@champion"}},
            "status": {"revisions": list(statuses), "rollout": {"phase": phase}},
        }
    )
    return build_history(resource, records)


PARKED = {"releasedAt": "2026-03-01T12:00:00Z"}
THREE = (_status(C, 3, "Stable"), _status(B, 2, "Parked", **PARKED), _status(A, 1, "Parked"))


@pytest.mark.parametrize("word", ["2", "#2", B, f"churn-{B}", "v2", " 2 "])
def test_each_form_selects_the_revision(word: str) -> None:
    assert find(_history(*THREE), word).hash == B


def test_hash_of_digits_is_a_hash() -> None:
    history = _history(_status(DIGITS, 1, "Stable"))
    assert find(history, DIGITS).number == 1


def test_version_of_two_revisions_is_ambiguous() -> None:
    records = [_record(A, 1, "7"), _record(B, 2, "7", "scorer:2"), _record(C, 3, "8")]
    history = _history(*THREE, records=records)
    with pytest.raises(NoSuchRevision, match=r"matches 2 revisions: churn-.* #2 .*#1 .*Use the number"):
        find(history, "v7")
    with pytest.raises(NoSuchRevision, match="For version 8 of the model, use v8"):
        find(history, "8")


def test_revision_without_a_record_is_an_error() -> None:
    history = _history(*THREE, records=[_record(C, 3, "3"), _record(B, 2, "2")])
    with pytest.raises(NoSuchRevision, match=r"its ControllerRevision was deleted.*historyLimit"):
        find(history, "1")
    assert previous(history).hash == B


def test_default_is_the_revision_that_lost_traffic_last() -> None:
    assert previous(_history(*THREE)).hash == B
    earlier = _status(A, 1, "Parked", releasedAt="2026-03-01T12:20:00Z")
    assert previous(_history(*THREE[:2], earlier)).hash == A
    assert previous(_history(THREE[0], _status(B, 2, "Parked"), THREE[2])).hash == B
    assert previous(_history(THREE[0], _status(B, 2, "Retiring"), earlier)).hash == B


def test_default_during_a_rollout_is_stable() -> None:
    history = _history(
        _status(C, 3, "Candidate"), _status(B, 2, "Stable"), _status(A, 1, "Parked", **PARKED), phase="Waiting"
    )
    chosen = choose(history, None)
    assert chosen.hash == B
    assert f"churn-{C} gets no traffic" in " ".join(pinned_lines(history, chosen, None))


def test_newer_revision_must_be_named() -> None:
    history = _history(_status(B, 2, "Parked", **PARKED), _status(A, 1, "Stable"))
    with pytest.raises(Failed, match="sluicegate rollback churn -n shop 2"):
        choose(history, None)
    assert choose(history, "2").hash == B


def test_stable_revision_is_an_error_unless_pinned() -> None:
    with pytest.raises(Failed, match=r"is stable already.*annotate mdep churn sluicegate.dev/pin=zzzzzzzzzz"):
        choose(_history(*THREE), "3")
    pinned = _history(*THREE, annotations={"sluicegate.dev/pin": f"churn-{C}"})
    assert "is pinned already" in next(pinned_lines(pinned, choose(pinned, "3"), None))
    with pytest.raises(Failed, match="add a REVISION"):
        choose(pinned, None)
    canary = _history(_status(B, 2, "Canary", weight=10), _status(A, 1, "Stable", weight=90, acceptedWeight=90))
    assert choose(canary, "1").hash == A


def test_rollback_says_how_long_it_takes() -> None:
    history = _history(*THREE)
    printed = list(pinned_lines(history, find(history, "2"), 40))
    assert printed[0] == f"shop/churn: pinned to churn-{B} #2 (churn/2), to replace churn-{C} #3 (churn/3)."
    assert printed[1].startswith(
        "Its pods start first. This takes about 40s if they start as fast as the current ones. The rollback fails if "
    )
    assert (
        "Its pods start first. The rollback fails if they are not ready within "
        in list(pinned_lines(history, find(history, "2"), None))[1]
    )
    assert printed[2].endswith("sluicegate unpin churn -n shop")
    warm = _history(THREE[0], _status(B, 2, "Retiring"))
    assert "2 of its pods are ready, so this takes a few seconds" in list(pinned_lines(warm, find(warm, "2"), None))[1]


def test_images_are_shown_only_where_they_differ() -> None:
    same = [_record(C, 3, "3"), _record(B, 2, "2"), _record(A, 1, "1")]
    pin = {"sluicegate.dev/pin": B, "sluicegate.dev/abort": A}
    history = _history(*THREE, records=same, annotations=pin)
    assert plain(lines(history, (), NOW)) == (
        "NUMBER   REVISION           MODEL     ROLE     WEIGHT   CREATED   RELEASED   IMAGE   MARKS\n"
        "3        churn-zzzzzzzzzz   churn/3   Stable   100%     150m      -          -       -\n"
        "2        churn-nqrstvwxz2   churn/2   Parked   -        150m      30m        -       pinned\n"
        "1        churn-bcdfghjklm   churn/1   Parked   -        150m      -          -       aborted\n"
    )
    differ = _history(*THREE, records=[*same[:2], _record(A, 1, "1", "scorer:0")])
    assert "scorer:0" in plain(lines(differ, (), NOW))
    assert document(history)["revisions"][1]["releasedAt"] == "2026-03-01T12:00:00Z"
    assert "unpinned from churn-nqrstvwxz2 #2" in next(unpinned_lines(history))
    lost = _history(*THREE, annotations={"sluicegate.dev/pin": "gone"})
    assert "names revision gone, which does not exist" in plain(lines(lost, (), NOW))


def test_rolled_back_revision_shows_its_measurement() -> None:
    why = "Rolled back at step 1 of 2 (10% of the requests): errors: 9% of 300 requests failed."
    history = _history(
        _status(B, 2, "Failed", reason="RolledBack", message=why), _status(A, 1, "Stable"), phase="RolledBack"
    )
    assert plain(lines(history, (), NOW)).splitlines()[1:3] == [
        "2        churn-nqrstvwxz2   churn/2   Failed   -        -         -          -       RolledBack",
        f"         RolledBack: {why}",
    ]
    assert document(history)["revisions"][0]["message"] == why


@pytest.mark.parametrize(
    "arguments", [["churn", "-n", "shop", "7"], ["-n", "shop", "churn", "7"], ["churn", "7", "-n", "shop"]]
)
def test_arguments_and_options_come_in_any_order(arguments: list[str]) -> None:
    options = parsed(["rollback", *arguments])
    assert (options.name, options.revision, options.namespace) == ("churn", "7", "shop")


def test_additional_argument_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(["rollback", "churn", "7", "8"])
    assert "unrecognized arguments: 8" in capsys.readouterr().err


def test_wait_states_its_limit_and_repeats_its_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = _history(*THREE, annotations={"sluicegate.dev/pin": B})

    async def unchanged(*_: Any) -> tuple[History, tuple[str, ...]]:
        return waiting, ()

    clock = itertools.count(step=4)
    monkeypatch.setattr(rollback, "fetch_history", unchanged)
    monkeypatch.setattr(rollback, "INTERVAL", 0.0)
    monkeypatch.setattr(rollback.time, "monotonic", lambda: float(next(clock)))
    with pytest.raises(Failed, match="is not stable after 60s"):
        asyncio.run(rollback._follow(cast(KubeClient, None), "shop", find(waiting, "2"), 60.0))
    limit, *progress = capsys.readouterr().out.splitlines()
    assert limit == "Waiting for at most 60s. To set another limit: --timeout DURATION."
    assert len(progress) > 2
    assert all("waiting for the operator to process the pin" in line for line in progress)
