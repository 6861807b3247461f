"""Why a pod does not serve, read from the pod itself.

The status of the pod already names every cause: the waiting reasons of the kubelet, the scheduler's message, and the
last termination message. This module turns it into one reason and one message with a fix. `pod_faults` has every
cause, and whose fault it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sluicegate.api import names
from sluicegate.api.reasons import Reason
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.snapshot.pod_faults import (
    CAUSES,
    Cause,
    of_ended_pod,
    of_termination,
    of_waiting,
    own_fault,
)
from sluicegate.core.snapshot.redaction import last_line
from sluicegate.core.snapshot.redaction import sentence as _sentence
from sluicegate.core.snapshot.request_remedies import what_to_lower
from sluicegate.core.snapshot.termination import parse_failure

_INSUFFICIENT = re.compile(r"\bInsufficient ([^\s,]+?)(?=[.,]?(?:\s|$))")
_NEVER_FITS = re.compile(r"0/\d+ nodes are available: \d+ Preemption is not helpful for scheduling\.?\s*")


_MISSING_OBJECT = {
    "secret": ("Secret", Reason.SECRET_NOT_FOUND),
    "configmap": ("ConfigMap", Reason.CONFIG_MAP_NOT_FOUND),
}
_MISSING_KEY = {"Secret": Reason.SECRET_KEY_NOT_FOUND, "ConfigMap": Reason.CONFIG_MAP_KEY_NOT_FOUND}
_LOAD_FAILURES = {reason.value: reason for reason in (Reason.MODEL_DEPENDENCY_MISSING, Reason.MODEL_LOAD_FAILED)}
"""Reasons that the model container itself gives (`sluicegate_scorer.errors.Reason`). Any other is a crash."""


def pod_problem(pod: Mapping[str, Any]) -> Problem | None:
    """Return why this pod does not serve, or None when it serves, is starting, or is being deleted.

    What happens to the whole pod explains how its containers ended. Of several containers that fail, the model's own
    comes first.
    """
    if "deletionTimestamp" in (pod.get("metadata") or {}):
        return None
    status = pod.get("status") or {}
    if (problem := _ended(pod, status) or _disrupted(pod, status) or _unscheduled(pod, status)) is not None:
        return problem
    problems = list(_container_problems(pod, status))
    return next(filter(own_fault, problems), problems[0] if problems else None)


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Tell whether the pod has ended for good: no container of it ever runs again."""
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def _problem(cause: Cause, message: str, reason: Reason | None = None) -> Problem:
    meaning = CAUSES[cause]
    return Problem(reason or meaning.reasons[0], message, waits_for_user=not meaning.passes)


def _ended(pod: Mapping[str, Any], status: Mapping[str, Any]) -> Problem | None:
    phase, reason = str(status.get("phase") or ""), str(status.get("reason") or "")
    cause = of_ended_pod(phase, reason)
    if cause is None:
        return None
    what = {
        Cause.EVICTED: "was evicted",
        Cause.NODE_GONE: "was lost with its node",
        Cause.REFUSED_BY_NODE: "was refused by the kubelet of its node",
    }.get(cause, "has ended")
    return _problem(cause, f"Pod {_name(pod)} {what}{_quoted(reason or phase, status.get('message'))}")


def _disrupted(pod: Mapping[str, Any], status: Mapping[str, Any]) -> Problem | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            details = _quoted(str(condition.get("reason") or ""), condition.get("message"))
            return _problem(Cause.DISRUPTED, f"Pod {_name(pod)} is being removed from its node{details}")
    return None


def _quoted(reason: str, message: object) -> str:
    """Return what the API reports about a pod, as the end of a sentence."""
    text = last_line(str(message or ""))
    return f" ({reason}): {_sentence(text)}" if text else f" ({reason})."


def _name(pod: Mapping[str, Any]) -> str:
    return str((pod.get("metadata") or {}).get("name", "?"))


def _unscheduled(pod: Mapping[str, Any], status: Mapping[str, Any]) -> Problem | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") != "PodScheduled" or condition.get("status") != "False":
            continue
        message = str(condition.get("message") or "no node fits")
        if condition.get("reason") == "SchedulingGated":
            gates = ", ".join(str(gate.get("name")) for gate in (pod.get("spec") or {}).get("schedulingGates") or ())
            return _problem(
                Cause.GATED,
                f"Pod {_name(pod)} has a scheduling gate{f' ({gates})' if gates else ''}, so no node is chosen for it: "
                "wait for the controller that set the gate, or remove what sets it.",
            )
        if missing := re.search(r'persistentvolumeclaim "([^"]+)" not found', message):
            claim = missing.group(1)
            return _problem(
                Cause.CLAIM_MISSING,
                f'PersistentVolumeClaim "{claim}" does not exist in this namespace: create it, or correct the claim in '
                "spec.model.uri or spec.podTemplate.",
            )
        if condition.get("reason") in ("Unschedulable", "SchedulerError"):
            return _unschedulable(pod, message)
    return None


def _unschedulable(pod: Mapping[str, Any], message: str) -> Problem:
    """Return the problem that the scheduler's message describes.

    The scheduler's message affects only the message of the problem.
    An example of such a message:
    `0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had ... preemption: ...`.
    """
    nodes, _, preemption = message.partition("preemption: ")
    lacking = sorted(set(_INSUFFICIENT.findall(nodes)))
    # "Preemption is not helpful" is said of nodes that would be too small even when empty, and of nodes that lack
    # something other than room.
    full = bool(lacking or "Too many pods" in nodes) and _NEVER_FITS.fullmatch(preemption) is None
    devices = _devices(pod)
    if not devices:
        lower = f"lower {what_to_lower(pod, lacking)}, " if lacking or "Too many pods" not in nodes else ""
        remedy = f"{lower}relax the node requirements in spec.podTemplate, or add a node that fits"
        summary = f"No node can run pod {_name(pod)}: {remedy}."
    elif full and (taken := [device for device in lacking if device in devices]):
        requests = " and ".join(f"{devices[device]} {device}" for device in taken)
        summary = (
            f"No node has {requests} free for pod {_name(pod)}: stop another workload, add a node, or change spec.gpu."
        )
    elif full:
        summary = (
            f"No node with {' and '.join(devices)} has room for pod {_name(pod)}: stop another workload, add a node, "
            "or lower spec.resources."
        )
    else:
        labels = _node_labels(pod)
        where = f" and the labels that it requires ({', '.join(labels)})" if labels else ""
        summary = (
            f"No node has {' and '.join(f'{count} {name}' for name, count in devices.items())} for pod "
            f"{_name(pod)}{where}, or the pod does not tolerate its taints: correct count, products, minMemory, "
            "nodeSelector or tolerations in spec.gpu, or add such a node."
        )
    return _problem(Cause.NO_NODE, f"{summary} The scheduler reports: {_sentence(message)}")


def _devices(pod: Mapping[str, Any]) -> dict[str, str]:
    """Return the extended resources of the pod's containers, as name and count."""
    devices = {}
    for container in (pod.get("spec") or {}).get("containers") or ():
        for name, count in ((container.get("resources") or {}).get("limits") or {}).items():
            if "/" in name:
                devices[name] = str(count)
    return devices


_ON_EVERY_NODE = "kubernetes.io/os"
"""Label that the kubelet sets on every node."""


def _node_labels(pod: Mapping[str, Any]) -> list[str]:
    """Return the keys of the labels that a node must have for the pod."""
    spec = pod.get("spec") or {}
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    terms = [
        expression
        for term in affinity.get("nodeSelectorTerms") or ()
        for expression in term.get("matchExpressions") or ()
    ]
    keys = [*(expression["key"] for expression in terms), *(spec.get("nodeSelector") or {})]
    return [key for key in dict.fromkeys(keys) if key != _ON_EVERY_NODE]


def _container_problems(pod: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Problem]:
    init = [(entry, True) for entry in status.get("initContainerStatuses") or ()]
    main = [(entry, False) for entry in status.get("containerStatuses") or ()]
    for entry, is_init in init + main:
        waiting = (entry.get("state") or {}).get("waiting") or {}
        reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
        cause, ended = of_waiting(reason, message), None
        if cause is None and (ended := _termination(entry, reason)) is not None:
            code = ended.get("exitCode")
            cause = of_termination(str(ended.get("reason") or ""), code, reason == "CrashLoopBackOff")
            message = str(ended.get("message") or "")
        match cause:
            case None if ended is not None:
                yield _crash_problem(pod, entry, ended, is_init)
            case None | Cause.STOPPED:
                pass
            case Cause.CONTAINER_LOST:
                yield _problem(
                    cause,
                    f"Container {entry.get('name')} of pod {_name(pod)} was lost, for example because its node "
                    "restarted. It starts again, or a new pod replaces it.",
                )
            case Cause.CONTAINER_NOT_CONFIGURED | Cause.CONTAINER_NOT_STARTED:
                yield _config_problem(cause, entry, message or reason)
            case _:
                yield _pull_problem(cause, entry, reason, message)


def _termination(entry: Mapping[str, Any], waiting: str) -> Mapping[str, Any] | None:
    """Return how the container last ended, if it is not running because of that.

    That is so when it is in back-off, has just ended, or has restarted and not become ready since.
    """
    now = (entry.get("state") or {}).get("terminated")
    before = (entry.get("lastState") or {}).get("terminated")
    if now is not None:
        return now if now.get("exitCode") != 0 else None
    if waiting == "CrashLoopBackOff" or (before is not None and not entry.get("ready")):
        return before or {}
    return None


def _pull_problem(cause: Cause, entry: Mapping[str, Any], reason: str, message: str) -> Problem:
    image = entry.get("image", "?")
    remedy = "check the name, the tag and spec.podTemplate.spec.imagePullSecrets"
    details = f" ({last_line(message)})" if message else ""
    return _problem(
        cause,
        f"Image {image} of container {entry.get('name')} cannot be pulled: {reason}{details}. To fix it, {remedy}.",
    )


def _config_problem(cause: Cause, entry: Mapping[str, Any], message: str) -> Problem:
    if missing := re.search(r'(secret|configmap) "([^"]+)" not found', message):
        kind, reason = _MISSING_OBJECT[missing.group(1)]
        return _problem(
            Cause.OBJECT_MISSING,
            f'{kind} "{missing.group(2)}" of container {entry.get("name")} does not exist in this namespace: '
            "create it, and the pod starts.",
            reason,
        )
    if missing := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+)", message):
        key, kind, where = missing.groups()
        return _problem(
            Cause.KEY_MISSING,
            f"{kind} {where} has no key {key}, which container {entry.get('name')} requires: add it.",
            _MISSING_KEY[kind],
        )
    return _problem(cause, f"Container {entry.get('name')} cannot be created: {_sentence(last_line(message))}")


def _crash_problem(
    pod: Mapping[str, Any], entry: Mapping[str, Any], ended: Mapping[str, Any], is_init: bool
) -> Problem:
    container, restarts = str(entry.get("name")), int(entry.get("restartCount") or 0)
    failure = parse_failure(str(ended.get("message") or ""))
    code, message = ended.get("exitCode", "?"), failure.message
    own, out_of_memory = container == names.MODEL_CONTAINER, ended.get("reason") == "OOMKilled"
    if out_of_memory:
        remedy = "spec.resources.limits.memory" if own else "the container's memory limit"
        cause = (
            f"Container {container} used more memory than its limit{_memory_limit(pod, container)} and was killed: "
            f"raise {remedy}."
        )
        if own:
            return _problem(Cause.MODEL_OUT_OF_MEMORY, cause)
    else:
        cause = _sentence(message or f"exit code {code}")
    if is_init and container == names.FETCH_CONTAINER:
        return _problem(Cause.FETCH_FAILED, f"The model could not be fetched: {cause}")
    if is_init and container == names.INSTALL_CONTAINER:
        return _problem(Cause.INSTALL_FAILED, f"The model's dependencies could not be installed: {cause}")
    if not own and out_of_memory:
        return _problem(Cause.SIDECAR_FAILED, cause)
    reason = _LOAD_FAILURES.get(failure.reason) if own else None
    if reason is Reason.MODEL_DEPENDENCY_MISSING:
        return _problem(Cause.MODEL_LACKS_PACKAGE, f"The model was not loaded: {cause}")
    times = f" after {restarts} restart{'s' if restarts != 1 else ''}" if restarts else ""
    details = f": {_sentence(message)}" if message else ", without a message."
    text = f"Container {container} ended with exit code {code}{times}{details}"
    if not own:
        return _problem(Cause.SIDECAR_FAILED, text)
    if reason is not None:
        return _problem(Cause.MODEL_DOES_NOT_LOAD, text)
    if restarts == 0 and not message:
        return _problem(
            Cause.MODEL_EXITED, f"Container {container} ended with exit code {code}.", Reason.CONTAINER_FAILED
        )
    return _problem(Cause.MODEL_EXITED, text)


def _memory_limit(pod: Mapping[str, Any], container: str) -> str:
    spec = pod.get("spec") or {}
    for entry in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        if entry.get("name") == container:
            limit = ((entry.get("resources") or {}).get("limits") or {}).get("memory")
            return f" of {limit}" if limit else ""
    return ""
