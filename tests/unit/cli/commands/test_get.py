"""`sluicegate get`: the view without a clock, and its text for scripts."""

import copy
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sluicegate.api.resource import decode
from sluicegate.cli import completion
from sluicegate.cli.commands.get import Picture, Scope, picture
from sluicegate.cli.output import detail_view, terminal
from sluicegate.cli.output.text import Size, age, plain
from sluicegate.kube.kinds import EVENT, MODEL_DEPLOYMENT, POD

NOW = datetime(2026, 3, 1, 12, 30, 0, tzinfo=UTC)
STABLE, NEXT = "bcdfghjklm", "nqrstvwxz2"


def _condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    at = "2026-03-01T12:28:00Z"
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": at,
        "observedGeneration": 2,
    }


def _revision(revision: str, role: str, version: int, **more: Any) -> dict[str, Any]:
    return {
        "name": f"churn-{revision}",
        "revision": revision,
        "role": role,
        "number": version,
        "model": f"churn/{version}",
        "version": str(version),
        "replicas": 2,
        "readyReplicas": 2,
        **more,
    }


CRASH = "Container model ended with exit code 1 after 3 restarts: out of ideas."
RESOURCE: dict[str, Any] = {
    "metadata": {
        "name": "churn",
        "namespace": "shop",
        "uid": "u",
        "generation": 2,
        "resourceVersion": "9",
        "creationTimestamp": "2026-03-01T09:00:00Z",
    },
    "spec": {
        "model": {"uri": "models:/churn@champion"},
        "canary": {
            "weight": 10,
            "match": [{"header": {"name": "x-cohort", "value": "beta"}}],
            "mirror": {"percent": 50},
        },
    },
    "status": {
        "observedGeneration": 2,
        "url": "http://models.example.com/shop/churn",
        "address": "http://churn.shop.svc",
        "canary": "5%",
        "model": {"uri": "models:/churn@champion", "name": "churn", "version": "7"},
        "conditions": [
            _condition("Ready", "False", "CrashLoopBackOff", f"{CRASH} The previous revision keeps serving."),
            _condition("Available", "True", "Serving", "Revision serves."),
            _condition("ModelResolved", "True", "Resolved"),
            _condition("TrafficRouted", "False", "ShiftingTraffic", "The gateway is applying the new weights."),
        ],
        "revisions": [
            _revision(STABLE, "Stable", 7, weight=90, acceptedWeight=95),
            _revision(
                NEXT,
                "Canary",
                8,
                weight=10,
                acceptedWeight=5,
                readyReplicas=1,
                reason="CrashLoopBackOff",
                message=CRASH,
            ),
        ],
        "rollout": {"phase": "Waiting", "startedAt": "2026-03-01T12:27:00Z"},
    },
}


def _pod(revision: str, suffix: str, ready: bool, **status: Any) -> dict[str, Any]:
    labels = {"sluicegate.dev/deployment": "churn", "sluicegate.dev/revision": revision}
    return {
        "metadata": {
            "name": f"churn-{revision}-{suffix}",
            "namespace": "shop",
            "labels": labels,
            "creationTimestamp": "2026-03-01T12:00:00Z",
        },
        "spec": {"nodeName": "node-1"},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}], **status},
    }


CRASHED = {
    "containerStatuses": [
        {
            "name": "model",
            "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "message": "out of ideas"}},
        }
    ]
}
PODS = [
    _pod(STABLE, "aaaaa", True),
    _pod(STABLE, "bbbbb", True),
    _pod(NEXT, "ccccc", True),
    _pod(NEXT, "ddddd", False, **CRASHED),
]


def _event(kind: str, name: str, reason: str, note: str, at: str, severity: str = "Normal") -> dict[str, Any]:
    return {
        "metadata": {"name": f"{name}.{reason}", "namespace": "shop", "creationTimestamp": at},
        "involvedObject": {"kind": kind, "name": name},
        "reason": reason,
        "message": note,
        "type": severity,
        "eventTime": at,
    }


EVENTS = [
    _event(
        "Pod",
        f"churn-{NEXT}-ddddd",
        "BackOff",
        "Back-off restarting\nfailed container",
        "2026-03-01T12:29:30Z",
        "Warning",
    )
    | {"count": 3},
    _event(
        "ModelDeployment",
        "churn",
        "RevisionCreated",
        "Created revision churn-nqrstvwxz2 of churn/8.",
        "2026-03-01T12:27:00Z",
    ),
    _event("Pod", f"churn-{NEXT}-ddddd", "Pulled", "not worth a line", "2026-03-01T12:27:10Z"),
    _event("Pod", "churn-of-another", "BackOff", "not ours", "2026-03-01T12:27:10Z", "Warning"),
    _event("ModelDeployment", "churn-2", "Ready", "not ours", "2026-03-01T12:27:10Z"),
]

DETAIL = """\
Name       shop/churn
Ready      False for 2m, CrashLoopBackOff
Available  True
Model      models:/churn@champion is churn version 7
URL        http://models.example.com/shop/churn
Address    http://churn.shop.svc
Canary     10% declared, 5% accepted; header x-cohort=beta; mirror 50%
Rollout    Waiting for 3m
Message    CrashLoopBackOff: Container model \
ended with exit code 1 after 3 restarts: out of ideas. The previous revision keeps serving.
Message    ShiftingTraffic: The gateway is applying the new weights.

REVISION                    STATE              MODEL     WEIGHT   ACCEPTED   READY   RESTARTS   AGE   NODE
churn-bcdfghjklm #7         Stable             churn/7   90%      95%        2/2     -          -     -
├─ churn-bcdfghjklm-aaaaa   Ready              -         -        -          -       0          30m   node-1
└─ churn-bcdfghjklm-bbbbb   Ready              -         -        -          -       0          30m   node-1
churn-nqrstvwxz2 #8         Canary             churn/8   10%      5%         1/2     -          -     -
├─ churn-nqrstvwxz2-ccccc   Ready              -         -        -          -       0          30m   node-1
└─ churn-nqrstvwxz2-ddddd   CrashLoopBackOff   -         -        -          -       3          30m   node-1
   CrashLoopBackOff: Container model ended with exit code 1 after 3 restarts: out of ideas.

AGE   EVENT             ABOUT                        MESSAGE
3m    RevisionCreated   ModelDeployment/churn        Created revision churn-nqrstvwxz2 of churn/8.
30s   BackOff           Pod/churn-nqrstvwxz2-ddddd   Back-off restarting failed container (x3)
"""

TABLE = """\
NAME    READY     STATUS             MODEL     VERSION   CANARY   PODS   AGE     MESSAGE
churn   False     CrashLoopBackOff   churn/7   7         5%       2/2    3h30m   CrashLoopBackOff: Container model \
ended with exit code 1 after 3 restarts: out of ideas. The previous revision keeps serving.
fresh   Unknown   NotObserved        -         -         -        0/0    61s     The operator has not observed \
the resource yet: check that the operator runs and watches this namespace.
"""


def _fresh() -> dict[str, Any]:
    metadata = {"name": "fresh", "namespace": "shop", "generation": 1, "creationTimestamp": "2026-03-01T12:28:59Z"}
    return {"metadata": metadata, "spec": {"model": {"uri": "models:/fresh/1"}}}


def _shown(scope: Scope, *resources: dict[str, Any]) -> Picture:
    view = picture(scope, {MODEL_DEPLOYMENT: copy.deepcopy(list(resources)), POD: PODS, EVENT: EVENTS})
    assert view is not None
    return view


def test_one_resource_with_its_revisions_pods_and_events() -> None:
    assert plain(_shown(Scope("churn", "shop"), _fresh(), RESOURCE).lines(NOW)) == DETAIL


def test_table_has_each_column_in_each_line() -> None:
    text = plain(_shown(Scope(None, "shop"), _fresh(), RESOURCE).lines(NOW))
    assert text == TABLE
    narrow = plain(_shown(Scope(None, "shop"), _fresh(), RESOURCE).lines(NOW, Size(80))).splitlines()
    assert max(map(len, narrow)) <= 80
    assert narrow[1].endswith("…")
    wide = plain(_shown(Scope(None, None, wide=True), RESOURCE).lines(NOW)).splitlines()
    assert wide[0].split()[:2] == ["NAMESPACE", "NAME"]
    assert "http://models.example.com/shop/churn" in wide[1]


def test_views_are_equal_where_only_time_has_passed() -> None:
    scope = Scope("churn", "shop")
    assert _shown(scope, RESOURCE) == _shown(scope, RESOURCE)
    other = copy.deepcopy(RESOURCE)
    other["status"]["revisions"][1]["acceptedWeight"] = 10
    assert _shown(scope, RESOURCE) != _shown(scope, other)


def test_deleted_resource_has_no_picture() -> None:
    assert picture(Scope("churn", "shop"), {MODEL_DEPLOYMENT: [_fresh()]}) is None


@pytest.mark.parametrize(
    ("pod", "state"),
    [
        ({"phase": "Pending"}, "Pending"),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}, "Unschedulable"),
        ({"initContainerStatuses": [{"name": "fetch", "state": {"running": {}}}]}, "Fetching"),
        ({"initContainerStatuses": [{"name": "install", "state": {"running": {}}}]}, "Installing"),
        ({"containerStatuses": [{"name": "model", "started": False, "state": {"running": {}}}]}, "Loading"),
        ({"containerStatuses": [{"name": "model", "started": True, "state": {"running": {}}}]}, "NotReady"),
        ({"containerStatuses": [{"name": "model", "state": {"waiting": {"reason": "ErrImagePull"}}}]}, "ErrImagePull"),
        ({"reason": "Evicted", "phase": "Failed"}, "Evicted"),
    ],
)
def test_state_of_a_pod_is_one_word(pod: dict[str, Any], state: str) -> None:
    assert detail_view.pod(_pod(STABLE, "aaaaa", False, **pod)).state == state


def test_ages_are_formatted_as_by_kubectl() -> None:
    ages = [age(NOW - timedelta(seconds=each), NOW) for each in (0, 119, 125, 600, 7200, 12600, 100_000, 200_000)]
    assert ages == ["0s", "119s", "2m5s", "10m", "120m", "3h30m", "27h", "2d"]


class _Stream(io.StringIO):
    encoding = "ascii"


def test_pipe_gets_plain_text_even_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    out = _Stream()
    monkeypatch.setattr("sys.stdout", out)
    terminal.show(_shown(Scope("churn", "shop"), RESOURCE).lines)
    assert "\x1b" not in out.getvalue()
    assert "`- churn-bcdfghjklm-bbbbb" in out.getvalue()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_terminal_gets_colors_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = _Terminal()
    monkeypatch.setattr("sys.stdout", out)
    terminal.show(_shown(Scope("churn", "shop"), RESOURCE).lines)
    assert "\x1b[31mFalse" in out.getvalue()
    out.seek(0)
    out.truncate()
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.show(_shown(Scope("churn", "shop"), RESOURCE).lines)
    assert "\x1b" not in out.getvalue()


def test_live_view_restores_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = _Terminal()
    monkeypatch.setattr("sys.stdout", out)
    with terminal.live() as shown:
        shown.show(_shown(Scope("churn", "shop"), RESOURCE).lines)
    assert out.getvalue().rstrip().endswith("\x1b[?25h")


def test_undecodable_resource_does_not_hide_others(capsys: pytest.CaptureFixture[str]) -> None:
    broken = {"metadata": {"name": "odd", "namespace": "shop"}, "spec": {"model": 3}}
    view = _shown(Scope(None, "shop"), broken, RESOURCE)
    assert [row.name for row in view.rows] == ["churn"]
    assert "shop/odd cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["ge"], ["get", ":4"]),
        (["promo"], ["promote", ":4"]),
        (["promote", "--f"], ["--full", ":4"]),
        (["get", "--o"], ["--output", ":4"]),
        (["get", "-o", "j"], ["json", ":4"]),
        (["diff", "-f", ""], [":0"]),
        (["diff", ""], [":4"]),
        (["odd", ""], [":4"]),
        (["get", "--kubeconfig", "/nonexistent", ""], [":4"]),
    ],
)
def test_kubectl_completes_commands_and_options(
    arguments: list[str], output: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert completion.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == output


def test_startup_probes_of_starting_pods_are_not_shown() -> None:
    probe = "Startup probe failed: Get http://10.0.0.7:8080/health: connection refused"
    starting = _event("Pod", f"churn-{NEXT}-ddddd", "Unhealthy", probe, "2026-03-01T12:29:40Z", "Warning")
    about = ("Pod", f"churn-{NEXT}-ccccc", "Unhealthy")
    liveness = _event(*about, "Liveness probe failed", "2026-03-01T12:29:41Z", "Warning")
    shown = detail_view._events(decode(RESOURCE), [*EVENTS, starting, liveness])
    assert [event.message for event in shown if event.reason == "Unhealthy"] == ["Liveness probe failed"]
