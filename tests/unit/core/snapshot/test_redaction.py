"""Texts of other programs cannot steer the terminal of whoever reads a status, an Event or a log."""

import pytest
from sluicegate.core.snapshot.parse import pod
from sluicegate.core.snapshot.redaction import last_line, printable
from sluicegate.kube.errors import from_response, from_status

HOSTILE = "\x1b[2Jred\x9b31m \u202edenrut\u2066\x00"


def test_replaces_what_steers_a_terminal() -> None:
    assert printable("plain ü ✓ 漢") == "plain ü ✓ 漢"
    assert printable(HOSTILE).isprintable()
    assert last_line(f"first\n{HOSTILE}\x1b\n\x1b\n") == "[2Jred 31m  denrut"


@pytest.mark.parametrize(
    "status",
    [
        {"containerStatuses": [{"name": "model", "state": {"terminated": {"exitCode": 1, "message": HOSTILE}}}]},
        {"containerStatuses": [{"name": "x", "state": {"waiting": {"reason": "ErrImagePull", "message": HOSTILE}}}]},
        {"containerStatuses": [{"name": "x", "image": HOSTILE, "state": {"waiting": {"reason": "ErrImagePull"}}}]},
        {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": HOSTILE}]},
        {"phase": "Failed", "reason": HOSTILE, "message": HOSTILE},
        {"initContainerStatuses": [{"name": "x", "state": {"terminated": {"exitCode": HOSTILE, "message": "m"}}}]},
    ],
)
def test_the_problem_of_a_pod_is_printable(status: dict[str, object]) -> None:
    facts = pod({"metadata": {"name": "p", "namespace": "n"}, "spec": {}, "status": status})
    assert facts.problem is not None
    assert facts.problem.message.isprintable()


def test_messages_of_the_api_server_are_printable() -> None:
    webhook = {"code": 403, "reason": "Forbidden", "message": f'admission webhook "x" denied the request: {HOSTILE}'}
    assert from_status(webhook).message.isprintable()
    assert str(from_response(502, "Bad Gateway", HOSTILE.encode())).isprintable()
