"""The fields of a pod that the platform team's settings forbid to spec.podTemplate.

The pod with the overlay is compared with the pod without it. No form of the overlay, such as a directive, a null or a
list that replaces another one, therefore passes a restriction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from sluicegate.config.tenant_settings import PodRestriction

HELPERS: Final = ("fetch", "install")
_LISTS: Final = ("initContainers", "containers", "ephemeralContainers")

Spec: TypeAlias = dict[str, Any]
Container: TypeAlias = dict[str, Any]


def violations(base: dict[str, Any], template: dict[str, Any], restrictions: Sequence[PodRestriction]) -> list[str]:
    """Return the paths of forbidden fields, one for each restriction and place.

    Args:
        base: The pod template without spec.podTemplate.
        template: The pod template with it.
        restrictions: What the settings forbid.
    """
    before, after = base.get("spec") or {}, template.get("spec") or {}
    paths = (f"spec.podTemplate.spec.{path}" for name in restrictions for path in _RULES[name](before, after))
    return list(dict.fromkeys(paths))


def _field(name: str) -> Callable[[Spec, Spec], Iterator[str]]:
    def rule(before: Spec, after: Spec) -> Iterator[str]:
        if after.get(name) and after[name] != before.get(name):
            yield name

    return rule


def _service_account(before: Spec, after: Spec) -> Iterator[str]:
    """Yield the field of the service account, or its deprecated alias."""
    for name in ("serviceAccountName", "serviceAccount"):
        if (after.get(name) or "") != (before.get(name) or ""):
            yield name


def _host_path(before: Spec, after: Spec) -> Iterator[str]:
    present = before.get("volumes") or ()
    for volume in after.get("volumes") or ():
        if volume.get("hostPath") is not None and volume not in present:
            yield f"volumes[{volume.get('name', '')}].hostPath"


def _containers(spec: Spec) -> Iterator[tuple[str, Container]]:
    for field in _LISTS:
        for container in spec.get(field) or ():
            yield f"{field}[{container.get('name', '')}]", container


def _in_containers(of: Callable[[Container], Iterator[tuple[str, Any]]]) -> Callable[[Spec, Spec], Iterator[str]]:
    """Return a rule for values in containers, which may be those that the container has without the overlay."""

    def rule(before: Spec, after: Spec) -> Iterator[str]:
        present = {place: list(of(container)) for place, container in _containers(before)}
        for place, container in _containers(after):
            for path, value in of(container):
                if (path, value) not in present.get(place, ()):
                    yield f"{place}.{path}"

    return rule


def _privileged(container: Container) -> Iterator[tuple[str, Any]]:
    context = container.get("securityContext") or {}
    if context.get("privileged"):
        yield "securityContext.privileged", True
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "securityContext.windowsOptions.hostProcess", True


def _capabilities(container: Container) -> Iterator[tuple[str, Any]]:
    added = ((container.get("securityContext") or {}).get("capabilities") or {}).get("add")
    if added:
        yield "securityContext.capabilities.add", added


def _host_ports(container: Container) -> Iterator[tuple[str, Any]]:
    for port in container.get("ports") or ():
        if port.get("hostPort"):
            yield f"ports[{port.get('containerPort', '')}].hostPort", port["hostPort"]


def _privileged_anywhere(before: Spec, after: Spec) -> Iterator[str]:
    yield from _in_containers(_privileged)(before, after)
    windows = [(spec.get("securityContext") or {}).get("windowsOptions") or {} for spec in (before, after)]
    if windows[1].get("hostProcess") and not windows[0].get("hostProcess"):
        yield "securityContext.windowsOptions.hostProcess"


def _helpers(before: Spec, after: Spec) -> Iterator[str]:
    def helpers(spec: Spec) -> dict[str, list[Container]]:
        items = spec.get("initContainers") or ()
        return {name: [item for item in items if item.get("name") == name] for name in HELPERS}

    present = helpers(before)
    for name, containers in helpers(after).items():
        if present[name] and containers != present[name]:
            yield f"initContainers[{name}]"


_RULES: Final[dict[PodRestriction, Callable[[Spec, Spec], Iterator[str]]]] = {
    "HostNetwork": _field("hostNetwork"),
    "HostPID": _field("hostPID"),
    "HostIPC": _field("hostIPC"),
    "HostPath": _host_path,
    "HostPort": _in_containers(_host_ports),
    "Privileged": _privileged_anywhere,
    "Capabilities": _in_containers(_capabilities),
    "ServiceAccountName": _service_account,
    "HelperContainers": _helpers,
}
