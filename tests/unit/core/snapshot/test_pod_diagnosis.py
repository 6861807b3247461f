"""The messages for pods that do not serve.

The pods are as a kubelet and a scheduler write them.
"""

import json
from typing import Any

import pytest
from sluicegate.core.snapshot import parse
from sluicegate.core.snapshot.pod_diagnosis import pod_problem
from sluicegate.core.snapshot.redaction import last_line, redact


def container(
    name: str, state: dict[str, Any], *, last: dict[str, Any] | None = None, restarts: int = 0, ready: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "image": "ghcr.io/sluicegate/scorer:1",
        "imageID": "",
        "ready": ready,
        "started": False,
        "restartCount": restarts,
        "state": state,
        "lastState": last or {},
    }


def waiting(reason: str, message: str | None = None) -> dict[str, Any]:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def failure(reason: str, message: str) -> str:
    """Return what the scoring image writes when it fails."""
    return json.dumps({"reason": reason, "message": message})


def terminated(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "startedAt": "2026-03-01T12:00:00Z",
            "finishedAt": "2026-03-01T12:00:05Z",
            "containerID": "containerd://1",
        }
    }


def pod(*main: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **status: Any) -> dict[str, Any]:
    limits = {"resources": {"limits": {"memory": "512Mi"}}}
    return {
        "metadata": {
            "name": "churn-bcdfghjklm-x2z4q",
            "namespace": "shop",
            "labels": {"sluicegate.dev/revision": "bcdfghjklm"},
        },
        "spec": {
            "containers": [{"name": "model", **limits}],
            "initContainers": [{"name": "fetch", "resources": {"limits": {"memory": "128Mi"}}}],
        },
        "status": {
            "phase": "Pending",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
            ],
            "containerStatuses": list(main),
            "initContainerStatuses": list(init),
            **status,
        },
    }


def unscheduled(message: str) -> dict[str, Any]:
    found = pod()
    found["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    ]
    return found


def with_gpus(message: str, count: str = "1") -> dict[str, Any]:
    """Return an unschedulable pod for an L4 in the pool `inference`.

    The scheduler has no node for it.
    """
    found = unscheduled(message)
    found["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = count
    term = {"matchExpressions": [{"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-L4"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    found["spec"] |= {"affinity": {"nodeAffinity": required}, "nodeSelector": {"pool": "inference"}}
    return found


def asking(cpu: str | None, message: str) -> dict[str, Any]:
    """Return an unschedulable pod whose containers `fetch` and, unless `cpu` is None, `model` request CPU."""
    found = unscheduled(message)
    found["spec"]["initContainers"][0]["resources"]["requests"] = {"cpu": "50m", "memory": "128Mi"}
    if cpu is not None:
        found["spec"]["containers"][0]["resources"]["requests"] = {"cpu": cpu}
    return found


BUSY = (
    " no new claims to deallocate, preemption: 0/{0} nodes are available: "
    "{0} No preemption victims found for incoming pod."
)
HOPELESS = " preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling."
MIXED = (
    " preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, "
    "2 Preemption is not helpful for scheduling."
)
STARTING = container("model", waiting("PodInitializing"))
BACK_OFF = waiting("CrashLoopBackOff", "back-off 20s restarting failed container=model pod=churn")
TRACE = 'Traceback (most recent call last):\n  File "/app/main.py", line 3\nValueError: no such column: age\n'

CASES = [
    (
        "image pull",
        pod(
            container(
                "model", waiting("ImagePullBackOff", 'Back-off pulling image "ghcr.io/sluicegate/scorer:1": not found')
            )
        ),
        "ImagePullFailed",
        ["ghcr.io/sluicegate/scorer:1", "container model", "not found", "imagePullSecrets"],
    ),
    (
        "image pull, init",
        pod(STARTING, init=(container("fetch", waiting("ErrImagePull", "denied")),)),
        "ImagePullFailed",
        ["container fetch", "denied"],
    ),
    (
        "crash loop",
        pod(container("model", BACK_OFF, last=terminated(1, TRACE), restarts=2)),
        "CrashLoopBackOff",
        ["exit code 1", "after 2 restarts: ValueError: no such column: age."],
    ),
    (
        "restarted and not ready since",
        pod(container("model", {"running": {}}, last=terminated(3, "bye"), restarts=1)),
        "CrashLoopBackOff",
        ["exit code 3", "after 1 restart: bye."],
    ),
    (
        "crash loop, nothing known",
        pod(container("model", BACK_OFF, restarts=4)),
        "CrashLoopBackOff",
        ["after 4 restarts, without a message."],
    ),
    ("ended in silence", pod(container("model", terminated(1))), "ContainerFailed", ["exit code 1"]),
    (
        "out of memory",
        pod(container("model", BACK_OFF, last=terminated(137, reason="OOMKilled"), restarts=1)),
        "OOMKilled",
        ["Container model", "512Mi", "spec.resources.limits.memory"],
    ),
    (
        "out of memory, init",
        pod(STARTING, init=(container("fetch", terminated(137, reason="OOMKilled")),)),
        "ModelFetchFailed",
        ["could not be fetched", "Container fetch", "128Mi", "the container's memory limit"],
    ),
    (
        "unschedulable",
        unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available."),
        "Unschedulable",
        ["churn-bcdfghjklm-x2z4q", "3 Insufficient nvidia.com/gpu", "lower spec.resources", "add a node"],
    ),
    (
        "the fetch container asks",
        asking(None, "0/1 nodes are available: 1 Insufficient cpu." + BUSY.format(1)),
        "Unschedulable",
        ["lower the request of container fetch (cpu: 50m), in spec.podTemplate.spec.initContainers"],
    ),
    (
        "the model container asks",
        asking("2", "0/1 nodes are available: 1 Insufficient cpu." + BUSY.format(1)),
        "Unschedulable",
        ["lower spec.resources.requests.cpu (2)"],
    ),
    (
        "node full of pods",
        unscheduled("0/1 nodes are available: 1 Too many pods." + BUSY.format(1)),
        "Unschedulable",
        ["x2z4q: relax the node requirements in spec.podTemplate, or add a node"],
    ),
    (
        "all GPUs taken",
        with_gpus("0/1 nodes are available: 1 Insufficient nvidia.com/gpu." + BUSY.format(1), "2"),
        "Unschedulable",
        [
            "No node has 2 nvidia.com/gpu free for pod churn-bcdfghjklm-x2z4q",
            "stop another workload, add a node",
            "change spec.gpu",
            "reports: 0/1",
        ],
    ),
    (
        "no such GPU",
        with_gpus("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector." + HOPELESS.format(2)),
        "Unschedulable",
        ["No node has 1 nvidia.com/gpu", "(nvidia.com/gpu.product, pool)", "products, minMemory, nodeSelector"],
    ),
    (
        "GPU there, CPU taken",
        with_gpus("0/1 nodes are available: 1 Insufficient cpu." + BUSY.format(1)),
        "Unschedulable",
        ["No node with nvidia.com/gpu has room", "spec.resources", "1 Insufficient cpu"],
    ),
    (
        "missing claim",
        unscheduled('0/1 nodes are available: persistentvolumeclaim "models" not found. not found'),
        "VolumeNotFound",
        ['"models"', "spec.model.uri"],
    ),
    (
        "missing Secret by env",
        pod(container("model", waiting("CreateContainerConfigError", 'secret "reranker-license" not found'))),
        "SecretNotFound",
        ['"reranker-license"', "container model", "create it"],
    ),
    (
        "missing Secret by envFrom",
        pod(
            STARTING,
            init=(container("fetch", waiting("CreateContainerConfigError", 'secret "mlflow-risk" not found')),),
        ),
        "SecretNotFound",
        ['"mlflow-risk"', "container fetch"],
    ),
    (
        "missing key",
        pod(container("model", waiting("CreateContainerConfigError", "couldn't find key password in Secret shop/db"))),
        "SecretKeyNotFound",
        ["shop/db", "no key password"],
    ),
    (
        "missing ConfigMap",
        pod(container("model", waiting("CreateContainerConfigError", 'configmap "settings" not found'))),
        "ConfigMapNotFound",
        ['"settings"'],
    ),
    (
        "wrong user",
        pod(
            container(
                "model", waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
            )
        ),
        "ContainerConfigError",
        ["runAsNonRoot"],
    ),
    (
        "fetch failed",
        pod(
            STARTING,
            init=(container("fetch", terminated(1, "log\nThe registry says: no artifact at a/b.\n"), restarts=0),),
        ),
        "ModelFetchFailed",
        ["The model could not be fetched: The registry says: no artifact at a/b."],
    ),
    (
        "fetch failed in silence",
        pod(STARTING, init=(container("fetch", BACK_OFF, last=terminated(2), restarts=3),)),
        "ModelFetchFailed",
        ["could not be fetched: exit code 2."],
    ),
    (
        "fetch failed without a full stop",
        pod(STARTING, init=(container("fetch", terminated(1, "check the registry's podSecret")),)),
        "ModelFetchFailed",
        ["podSecret."],
    ),
    (
        "cannot be loaded",
        pod(
            container(
                "model",
                BACK_OFF,
                last=terminated(1, failure("ModelLoadFailed", "cannot load the model: No module named 'xgboost'")),
                restarts=1,
            )
        ),
        "ModelLoadFailed",
        ["No module named 'xgboost'"],
    ),
    (
        "cannot be installed",
        pod(STARTING, init=(container("install", terminated(1, "cannot install the model's requirements: x==1")),)),
        "DependenciesNotInstalled",
        ["could not be installed: cannot install the model's requirements: x==1."],
    ),
    (
        "lacks a package",
        pod(
            container(
                "model",
                BACK_OFF,
                last=terminated(1, failure("ModelDependencyMissing", "it does not have shop==1.0 (missing); set x")),
                restarts=2,
            )
        ),
        "ModelDependencyMissing",
        ["not loaded: it does not have shop==1.0 (missing); set x."],
    ),
    (
        "evicted",
        pod(phase="Failed", reason="Evicted", message="The node was low on resource: ephemeral-storage."),
        "Evicted",
        ["low on resource: ephemeral-storage"],
    ),
]


@pytest.mark.parametrize(("raw", "reason", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_failure_has_its_reason_and_a_sentence(raw: dict[str, Any], reason: str, words: list[str]) -> None:
    problem = pod_problem(raw)
    assert problem is not None
    assert problem.reason == reason
    for word in words:
        assert word in problem.message
    assert "\n" not in problem.message
    assert parse.pod(raw).problem == problem


@pytest.mark.parametrize(
    "raw",
    [
        {"metadata": {"name": "new", "namespace": "shop"}},
        pod(STARTING, init=(container("fetch", {"running": {}}),)),
        pod(
            container("model", {"running": {}}),
            init=(container("fetch", terminated(0, "{}", "Completed"), ready=True),),
        ),
        pod(container("model", waiting("ContainerCreating"))),
        pod(container("model", {"running": {}}, last=terminated(1), restarts=1, ready=True)),
    ],
    ids=["no status", "fetching", "loading", "creating", "serves again"],
)
def test_a_pod_that_starts_or_serves_has_no_problem(raw: dict[str, Any]) -> None:
    assert pod_problem(raw) is None


def test_only_what_nobody_need_act_on_may_pass_by_itself() -> None:
    evicted = pod_problem(pod(reason="Evicted"))
    crashed = pod_problem(pod(container("model", terminated(1, "x"))))
    assert evicted is not None
    assert crashed is not None
    assert (evicted.waits_for_user, crashed.waits_for_user) == (False, True)


@pytest.mark.parametrize(
    ("message", "free"),
    [
        ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu." + BUSY.format(1), " free for pod"),
        ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", " free for pod"),
        ("0/2 nodes are available: 2 Insufficient nvidia.com/gpu." + HOPELESS.format(2), " for pod"),
        (
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}." + MIXED,
            "has room for pod",
        ),
        ("0/1 nodes are available: 1 Too many pods." + BUSY.format(1), "has room for pod"),
        ("0/1 nodes are available: 1 node(s) had untolerated taint {a: b}." + HOPELESS.format(1), " for pod"),
        ("in other words", " for pod"),
    ],
)
def test_the_schedulers_message_decides_only_the_message(message: str, free: str) -> None:
    problem = pod_problem(with_gpus(message))
    assert problem is not None
    assert (problem.lacks_room, problem.waits_for_user) == (False, False)
    assert free in problem.message
    assert problem.message.endswith(f"The scheduler reports: {message.removesuffix('.')}."), (
        "a sentence, because more may follow"
    )


def test_a_ready_pod_has_no_problem() -> None:
    raw = pod(container("model", BACK_OFF, last=terminated(1)))
    raw["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert parse.pod(raw).problem is None
    assert parse.pod(raw).ready


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2",
        "MLFLOW_TRACKING_PASSWORD: hunter2",
        'login failed {"token": "hunter2", "user": "a"}',
        "{'api_key': 'hunter2 hunter2'}",
        "AWS_SECRET_ACCESS_KEY=hunter2",
        "Authorization: Bearer hunter2hunter2",
        "authorization: Basic hunter2",
        "sent bearer hunter2hunter2 to the server",
        "GET http://user:hunter2@mlflow/api failed",
        "GET http://user:p@hunter2@mlflow/api failed",
        "GET https://hunter2@mlflow/api failed",
        "secret = hunter2",
    ],
)
def test_credentials_never_get_out(text: str) -> None:
    assert "hunter2" not in redact(text)
    assert "hunter2" not in last_line(f"first\n{text}\n\n")
    problem = pod_problem(pod(container("model", BACK_OFF, last=terminated(1, text), restarts=1)))
    assert problem is not None
    assert "hunter2" not in problem.message


@pytest.mark.parametrize(
    "text", ["no such column: age", 'secret "a" not found', "see http://mlflow:5000/a@b", "5 tokens"]
)
def test_the_rest_stays_readable(text: str) -> None:
    assert redact(text) == text


def test_the_last_line_is_bounded() -> None:
    assert last_line("a\nb  \n \n") == "b"
    assert last_line("") == ""
    assert len(last_line("x" * 5000)) == 600


@pytest.mark.parametrize(
    ("message", "digest"),
    [('{"digest": "sha256:1"}', "sha256:1"), ("", None), ("[]", None), ('{"digest": 1}', None), ("not JSON", None)],
)
def test_the_fetcher_reports_a_digest(message: str, digest: str | None) -> None:
    raw = pod(init=(container("fetch", terminated(0, message, "Completed"), ready=True),))
    assert parse.pod(raw).digest == digest
