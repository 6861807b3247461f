"""Pods that the API server refuses to create: what the Deployment reports, and the field that cures it.

A Deployment reports a refused pod as a condition whose only content is the API server's text. The text affects the
reason and the message of a problem, and nothing that the operator decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sluicegate.api import names
from sluicegate.api.reasons import Reason
from sluicegate.core.snapshot.facts import DeploymentFacts, Problem
from sluicegate.core.snapshot.redaction import sentence
from sluicegate.core.snapshot.request_remedies import of_quota

_PARTS = ("initContainers", "containers")
_PATH = re.compile(r"\bspec\.(initContainers|containers)\[(\d+)\]")
_LISTED = re.compile(r"\bfor: ([\w,-]+)")
_QUOTED = re.compile(r'\bcontainers? ((?:"[^"]+"(?:, )?)+)')
_RESOURCES = re.compile(
    r"\bresources\.(requests|limits)|\bmust specify \S+ for: |\b(usage|ratio) .*\bper (Container|Pod)\b"
)
_QUOTA = "exceeded quota"


def refused_containers(message: str, pod_spec: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the containers that a refusal is about, as (part of the pod's spec, name).

    Examples of such messages:
    `failed quota: c: must specify limits.cpu for: fetch; limits.memory for: fetch`,
    `spec.initContainers[0].resources.requests: Invalid value: "128Mi": must be less than or equal to memory limit`,
    `violates PodSecurity "restricted:latest": runAsNonRoot != true (container "model" must set ...)`.

    Args:
        message: The API server's text.
        pod_spec: The spec of the pod template, which has the names of the containers that a path counts.
    """
    containers = [(part, str(entry.get("name"))) for part in _PARTS for entry in pod_spec.get(part) or ()]
    named = set(_named(message, pod_spec))
    return tuple(container for container in containers if container[1] in named)


def _named(message: str, pod_spec: Mapping[str, Any]) -> Iterator[str]:
    for part, index in _PATH.findall(message):
        containers = pod_spec.get(part) or ()
        if int(index) < len(containers):
            yield str(containers[int(index)].get("name"))
    for listed in _LISTED.findall(message):
        yield from listed.split(",")
    for quoted in _QUOTED.findall(message):
        yield from re.findall(r'"([^"]+)"', quoted)


def pod_refusal(deployment: DeploymentFacts) -> Problem | None:
    """Return why the API server refuses the pods of a Deployment, or None.

    It may pass without a change: a quota may get room, and a webhook may come back.
    """
    message = deployment.replica_failure
    if not message or deployment.current >= max(1, deployment.replicas):
        return None
    remedy = _remedy(message, deployment.refused_containers)
    return Problem(
        Reason.QUOTA_EXCEEDED if _QUOTA in message else Reason.POD_REFUSED,
        f"The API server rejects the pods: {sentence(message)} To fix it, {remedy}."
        f"{_of_platform(message, deployment.refused_containers)}",
        waits_for_user=False,
    )


def _remedy(message: str, containers: tuple[tuple[str, str], ...]) -> str:
    if _QUOTA in message:
        return of_quota(message)
    if _RESOURCES.search(message) is None:
        fields = [f"container {name} in spec.podTemplate.spec.{part}" for part, name in containers]
        return f"change {' and '.join(fields or ['spec.podTemplate'])} or the namespace's policy"
    fields = [
        "spec.resources"
        if name == names.MODEL_CONTAINER
        else f"resources of container {name} in spec.podTemplate.spec.{part}"
        for part, name in containers
    ]
    where = " and ".join(fields or ["spec.resources, and the resources of other containers in spec.podTemplate,"])
    return f"set {where} or change the namespace's LimitRange or ResourceQuota"


def _of_platform(message: str, containers: tuple[tuple[str, str], ...]) -> str:
    """Return the settings that cure the same refusal for all models, as a sentence to append."""
    if _QUOTA in message:
        return ""
    if _RESOURCES.search(message) is None:
        return " For all models, the operator's setting `pods` can do this."
    helpers = [name for _, name in containers if name in (names.FETCH_CONTAINER, names.INSTALL_CONTAINER)]
    if not helpers:
        return ""
    return (
        f" For all models, set {' and '.join(f'pods.{name}.resources' for name in helpers)} in the operator's settings."
    )
