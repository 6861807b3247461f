"""Whose fault it is that a pod ended or waits.

The pods are as a kubelet, a scheduler and a container runtime write them.
"""

from typing import Any

import pytest
from sluicegate.api.remedies import REMEDIES
from sluicegate.core.snapshot import parse
from sluicegate.core.snapshot.pod_diagnosis import pod_problem
from sluicegate.core.snapshot.pod_faults import CAUSES, OWN_FAULTS, Cause, Fault, own_fault

from tests.unit.core.snapshot.test_pod_diagnosis import (
    BACK_OFF,
    STARTING,
    container,
    failure,
    pod,
    terminated,
    unscheduled,
    waiting,
)

RUNNING: dict[str, Any] = {"running": {}}
SERVES = container("model", RUNNING, ready=True)
NOT_FOUND = "rpc error: code = NotFound desc = failed to resolve reference: not found"
AWAY = "rpc error: code = Unknown desc = failed to pull and unpack image: dial tcp 10.0.0.1:443: i/o timeout"


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def restarted(name: str, code: int, reason: str = "Error", restarts: int = 1) -> dict[str, Any]:
    """Return a container that runs again after it ended, and is not ready yet."""
    return container(name, RUNNING, last=terminated(code, "", reason), restarts=restarts)


def failed(reason: str, *main: dict[str, Any]) -> dict[str, Any]:
    """Return a pod that the kubelet has ended for a reason."""
    return pod(*main, phase="Failed", reason=reason, message="The node said why.")


def disrupted(reason: str, *main: dict[str, Any]) -> dict[str, Any]:
    return pod(*main, conditions=[condition("DisruptionTarget", "True", reason, "Taint manager: deleting.")])


def gated() -> dict[str, Any]:
    raw = pod(conditions=[condition("PodScheduled", "False", "SchedulingGated", "Scheduling is blocked.")])
    raw["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    return raw


def deleting(raw: dict[str, Any]) -> dict[str, Any]:
    raw["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    return raw


KILLED = container("model", terminated(137))
LOADS = failure("ModelLoadFailed", "cannot load the model: No module named 'xgboost'")
LACKS = failure("ModelDependencyMissing", "it does not have shop==1.0")
FETCHES = container("fetch", RUNNING)
PODS: list[tuple[str, Cause, dict[str, Any]]] = [
    ("crash", Cause.MODEL_EXITED, pod(container("model", BACK_OFF, last=terminated(1), restarts=2))),
    ("first exit", Cause.MODEL_EXITED, pod(container("model", terminated(1)))),
    ("exit 255 of its own", Cause.MODEL_EXITED, pod(restarted("model", 255))),
    ("killed again and again", Cause.MODEL_EXITED, pod(container("model", BACK_OFF, last=terminated(137), restarts=3))),
    ("ends again and again", Cause.MODEL_EXITED, pod(container("model", BACK_OFF, last=terminated(0), restarts=3))),
    ("load error", Cause.MODEL_DOES_NOT_LOAD, pod(container("model", terminated(1, LOADS)))),
    ("package missing", Cause.MODEL_LACKS_PACKAGE, pod(container("model", terminated(1, LACKS)))),
    ("memory", Cause.MODEL_OUT_OF_MEMORY, pod(restarted("model", 137, "OOMKilled"))),
    (
        "crash beside a failing sidecar",
        Cause.MODEL_EXITED,
        pod(restarted("istio-proxy", 1), container("model", BACK_OFF, last=terminated(3), restarts=2)),
    ),
    ("image name", Cause.IMAGE_NAME_INVALID, pod(container("model", waiting("InvalidImageName")))),
    ("image missing", Cause.IMAGE_MISSING, pod(container("model", waiting("ErrImagePull", NOT_FOUND)))),
    ("never pulled", Cause.IMAGE_MISSING, pod(container("model", waiting("ErrImageNeverPull")))),
    ("image registry away", Cause.IMAGE_NOT_PULLED, pod(container("model", waiting("ImagePullBackOff", AWAY)))),
    ("signature", Cause.IMAGE_NOT_PULLED, pod(container("model", waiting("SignatureValidationFailed")))),
    (
        "Secret",
        Cause.OBJECT_MISSING,
        pod(container("model", waiting("CreateContainerConfigError", 'secret "s" not found'))),
    ),
    (
        "key",
        Cause.KEY_MISSING,
        pod(container("model", waiting("CreateContainerConfigError", "couldn't find key k in Secret shop/db"))),
    ),
    ("root", Cause.CONTAINER_NOT_CONFIGURED, pod(container("model", waiting("CreateContainerConfigError", "as root")))),
    (
        "GPU driver",
        Cause.CONTAINER_NOT_STARTED,
        pod(container("model", BACK_OFF, last=terminated(128, "nvidia-container-cli: error", "StartError"))),
    ),
    ("runtime error", Cause.CONTAINER_NOT_STARTED, pod(container("model", waiting("RunContainerError", "no space")))),
    ("fetch", Cause.FETCH_FAILED, pod(STARTING, init=(container("fetch", terminated(1, "no route")),))),
    ("fetch, memory", Cause.FETCH_FAILED, pod(STARTING, init=(restarted("fetch", 137, "OOMKilled"),))),
    ("install", Cause.INSTALL_FAILED, pod(STARTING, init=(container("install", BACK_OFF, last=terminated(1)),))),
    ("sidecar", Cause.SIDECAR_FAILED, pod(SERVES, container("istio-proxy", BACK_OFF, last=terminated(1), restarts=9))),
    ("sidecar, memory", Cause.SIDECAR_FAILED, pod(SERVES, restarted("istio-proxy", 137, "OOMKilled"))),
    ("native sidecar", Cause.SIDECAR_FAILED, pod(STARTING, init=(restarted("istio-proxy", 1),))),
    ("injected init container", Cause.SIDECAR_FAILED, pod(STARTING, init=(container("vault-init", terminated(2)),))),
    ("node restarted", Cause.CONTAINER_LOST, pod(restarted("model", 255, "Unknown"))),
    ("status lost", Cause.CONTAINER_LOST, pod(container("model", terminated(137, "", "ContainerStatusUnknown")))),
    ("evicted", Cause.EVICTED, failed("Evicted")),
    (
        "evicted, ended with memory",
        Cause.EVICTED,
        failed("Evicted", container("model", terminated(137, "", "OOMKilled"))),
    ),
    ("critical pod preempts", Cause.EVICTED, failed("Preempting", KILLED)),
    *(
        (reason, Cause.DISRUPTED, disrupted(reason, KILLED))
        for reason in (
            "PreemptionByScheduler",
            "DeletionByTaintManager",
            "EvictionByEvictionAPI",
            "DeletionByPodGC",
            "TerminationByKubelet",
        )
    ),
    *((reason, Cause.NODE_GONE, failed(reason, KILLED)) for reason in ("Terminated", "NodeShutdown", "Shutdown")),
    ("node lost", Cause.NODE_GONE, pod(SERVES, phase="Running", reason="NodeLost")),
    *(
        (reason, Cause.REFUSED_BY_NODE, failed(reason))
        for reason in ("UnexpectedAdmissionError", "OutOfcpu", "OutOfnvidia.com/gpu", "NodeAffinity", "NodePorts")
    ),
    ("deadline of the pod", Cause.POD_ENDED, failed("DeadlineExceeded", KILLED)),
    ("ended in silence", Cause.POD_ENDED, pod(container("model", terminated(1)), phase="Failed")),
    ("succeeded", Cause.POD_ENDED, pod(container("model", terminated(0)), phase="Succeeded")),
    ("gated", Cause.GATED, gated()),
    ("no node", Cause.NO_NODE, unscheduled("0/1 nodes are available: 1 Insufficient cpu.")),
    ("no claim", Cause.CLAIM_MISSING, unscheduled('persistentvolumeclaim "models" not found')),
    *((f"stopped with {code}", Cause.STOPPED, pod(restarted("model", code))) for code in (0, 137, 143)),
    ("stopped just now", Cause.STOPPED, pod(container("model", terminated(143)))),
    ("deleted", Cause.DELETED, deleting(pod(container("model", BACK_OFF, last=terminated(1), restarts=2)))),
    ("starting", Cause.STARTING, pod(STARTING, init=(FETCHES,))),
    ("creating", Cause.STARTING, pod(container("model", waiting("ContainerCreating")))),
]
OF_DEPLOYMENTS = {Cause.OVER_QUOTA, Cause.REFUSED_BY_API}
"""Causes that the condition of a Deployment shows, because there is no pod."""


@pytest.mark.parametrize(("cause", "raw"), [each[1:] for each in PODS], ids=[each[0] for each in PODS])
def test_each_pod_gets_the_meaning_of_its_cause(cause: Cause, raw: dict[str, Any]) -> None:
    problem, meaning = pod_problem(raw), CAUSES[cause]
    assert own_fault(problem) == (meaning.fault is Fault.VERSION)
    if not meaning.reasons:
        assert problem is None
        return
    assert problem is not None
    assert problem.reason in meaning.reasons
    assert problem.waits_for_user != meaning.passes
    assert problem.message.endswith((".", "x")), problem.message


def test_every_cause_has_a_pod() -> None:
    assert {cause for _, cause, _ in PODS} | OF_DEPLOYMENTS == set(Cause) == set(CAUSES)


def test_a_reason_counts_against_the_version_always_or_never() -> None:
    others = {reason for meaning in CAUSES.values() if meaning.fault is not Fault.VERSION for reason in meaning.reasons}
    assert not OWN_FAULTS & others
    documented = {reason for remedies in REMEDIES.values() for reason in remedies}
    assert others | OWN_FAULTS <= documented


@pytest.mark.parametrize(("phase", "ended"), [("Failed", True), ("Succeeded", True), ("Running", False), ("", False)])
def test_a_pod_has_ended_by_its_phase(phase: str, ended: bool) -> None:
    assert parse.pod(pod(SERVES, phase=phase)).ended is ended


def test_a_pod_that_is_being_deleted_has_no_problem() -> None:
    assert parse.pod(deleting(pod(container("model", terminated(1))))).problem is None


def test_messages_quote_the_node() -> None:
    refused, gate = pod_problem(failed("OutOfcpu")), pod_problem(gated())
    assert refused is not None
    assert gate is not None
    assert refused.message == (
        "Pod churn-bcdfghjklm-x2z4q was refused by the kubelet of its node (OutOfcpu): The node said why."
    )
    assert "kueue.x-k8s.io/admission" in gate.message
