"""Why a pod does not serve, read from the pod itself.

The status of the pod already names every cause: the waiting reasons of the kubelet, the scheduler's message, and the
last termination message. This module turns it into one reason and one message with a fix. Sources: the kubelet's
container states and reasons, and the scheduler's PodScheduled condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sluicegate.api import names
from sluicegate.api.reasons import Reason
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.snapshot.redaction import last_line
from sluicegate.core.snapshot.redaction import sentence as _sentence
from sluicegate.core.snapshot.request_remedies import what_to_lower
from sluicegate.core.snapshot.termination import parse_failure

_PULL = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
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
    """Return why this pod does not serve, or None when it serves or is starting."""
    status = pod.get("status") or {}
    if status.get("reason") == "Evicted":
        return Problem(
            Reason.EVICTED,
            f"Pod {_name(pod)} was evicted: {_sentence(str(status.get('message') or ''))}",
            waits_for_user=False,
        )
    return _unscheduled(pod, status) or next(_container_problems(pod, status), None)


def _name(pod: Mapping[str, Any]) -> str:
    return str((pod.get("metadata") or {}).get("name", "?"))


def _unscheduled(pod: Mapping[str, Any], status: Mapping[str, Any]) -> Problem | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") != "PodScheduled" or condition.get("status") != "False":
            continue
        message = str(condition.get("message") or "no node fits")
        if missing := re.search(r'persistentvolumeclaim "([^"]+)" not found', message):
            claim = missing.group(1)
            return Problem(
                Reason.VOLUME_NOT_FOUND,
                f'PersistentVolumeClaim "{claim}" does not exist in this namespace: create it, or correct the claim in '
                "spec.model.uri or spec.podTemplate.",
                waits_for_user=False,
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
    return Problem(
        Reason.UNSCHEDULABLE,
        f"{summary} The scheduler reports: {_sentence(message)}",
        waits_for_user=False,  # a node may be added: see `diagnosis.revision_problem`
    )


def _devices(pod: Mapping[str, Any]) -> dict[str, str]:
    """Return the extended resources of the pod's containers, as name and count."""
    devices = {}
    for container in (pod.get("spec") or {}).get("containers") or ():
        for name, count in ((container.get("resources") or {}).get("limits") or {}).items():
            if "/" in name:
                devices[name] = str(count)
    return devices


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
    return list(dict.fromkeys([*(expression["key"] for expression in terms), *(spec.get("nodeSelector") or {})]))


def _container_problems(pod: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Problem]:
    init = [(entry, True) for entry in status.get("initContainerStatuses") or ()]
    main = [(entry, False) for entry in status.get("containerStatuses") or ()]
    for entry, is_init in init + main:
        waiting = (entry.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason in _PULL:
            yield _pull_problem(entry, reason, str(waiting.get("message") or ""))
        elif reason in _CONFIG:
            yield _config_problem(entry, str(waiting.get("message") or reason))
        elif (ended := _termination(entry, reason)) is not None:
            yield _crash_problem(pod, entry, ended, is_init)


def _termination(entry: Mapping[str, Any], waiting: str) -> Mapping[str, Any] | None:
    """Return how the container last failed, if it is not running because of that.

    That is so when it is in back-off, has just ended, or has restarted and not become ready since.
    """
    now = (entry.get("state") or {}).get("terminated")
    before = (entry.get("lastState") or {}).get("terminated")
    if now is not None:
        return now if now.get("exitCode") != 0 else None
    if waiting == "CrashLoopBackOff" or (before is not None and not entry.get("ready")):
        return before or {}
    return None


def _pull_problem(entry: Mapping[str, Any], reason: str, message: str) -> Problem:
    image = entry.get("image", "?")
    remedy = "check the name, the tag and spec.podTemplate.spec.imagePullSecrets"
    details = f" ({last_line(message)})" if message else ""
    return Problem(
        Reason.IMAGE_PULL_FAILED,
        f"Image {image} of container {entry.get('name')} cannot be pulled: {reason}{details}. To fix it, {remedy}.",
    )


def _config_problem(entry: Mapping[str, Any], message: str) -> Problem:
    if missing := re.search(r'(secret|configmap) "([^"]+)" not found', message):
        kind, reason = _MISSING_OBJECT[missing.group(1)]
        return Problem(
            reason,
            f'{kind} "{missing.group(2)}" of container {entry.get("name")} does not exist in this namespace: '
            "create it, and the pod starts.",
        )
    if missing := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+)", message):
        key, kind, where = missing.groups()
        return Problem(
            _MISSING_KEY[kind],
            f"{kind} {where} has no key {key}, which container {entry.get('name')} requires: add it.",
        )
    return Problem(
        Reason.CONTAINER_CONFIG_ERROR,
        f"Container {entry.get('name')} cannot be created: {_sentence(last_line(message))}",
    )


def _crash_problem(
    pod: Mapping[str, Any], entry: Mapping[str, Any], ended: Mapping[str, Any], is_init: bool
) -> Problem:
    container, restarts = str(entry.get("name")), int(entry.get("restartCount") or 0)
    if ended.get("reason") == "OOMKilled":
        limit = _memory_limit(pod, container)
        remedy = (
            "spec.resources.limits.memory" if container == names.MODEL_CONTAINER else "the container's memory limit"
        )
        return Problem(
            Reason.OOM_KILLED,
            f"Container {container} used more memory than its limit{limit} and was killed: raise {remedy}.",
        )
    failure = parse_failure(str(ended.get("message") or ""))
    code, message = ended.get("exitCode", "?"), failure.message
    cause = _sentence(message or f"exit code {code}")
    if is_init and container == names.FETCH_CONTAINER:
        return Problem(Reason.MODEL_FETCH_FAILED, f"The model could not be fetched: {cause}")
    if is_init and container == names.INSTALL_CONTAINER:
        return Problem(Reason.DEPENDENCIES_NOT_INSTALLED, f"The model's dependencies could not be installed: {cause}")
    reason = _LOAD_FAILURES.get(failure.reason) if container == names.MODEL_CONTAINER else None
    if reason is Reason.MODEL_DEPENDENCY_MISSING:
        return Problem(reason, f"The model was not loaded: {cause}")
    if restarts == 0 and not message:
        return Problem(Reason.CONTAINER_FAILED, f"Container {container} ended with exit code {code}.")
    times = f" after {restarts} restart{'s' if restarts != 1 else ''}" if restarts else ""
    details = f": {_sentence(message)}" if message else ", without a message."
    return Problem(
        reason or Reason.CRASH_LOOP_BACK_OFF, f"Container {container} ended with exit code {code}{times}{details}"
    )


def _memory_limit(pod: Mapping[str, Any], container: str) -> str:
    spec = pod.get("spec") or {}
    for entry in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        if entry.get("name") == container:
            limit = ((entry.get("resources") or {}).get("limits") or {}).get("memory")
            return f" of {limit}" if limit else ""
    return ""
