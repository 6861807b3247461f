"""Settings that limit what the users of a namespace can set in a ModelDeployment."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from sluicegate.api.fields import doc
from sluicegate.config.base import SettingsType
from sluicegate.config.hosts import HostPattern

PodRestriction: TypeAlias = Literal[
    "HostNetwork",
    "HostPID",
    "HostIPC",
    "HostPath",
    "HostPort",
    "Privileged",
    "Capabilities",
    "ServiceAccountName",
    "HelperContainers",
]


class TenantSettings(SettingsType, frozen=True):
    """What a ModelDeployment may not do. The defaults refuse nothing."""

    pod_template_restrictions: Annotated[
        tuple[PodRestriction, ...],
        doc(
            "What spec.podTemplate may not set. `HostNetwork`, `HostPID`, `HostIPC`: the host's namespaces. "
            "`HostPath`: volumes of the node. `HostPort`: ports of the node. `Privileged`: privileged containers and "
            "host processes. `Capabilities`: added Linux capabilities. `ServiceAccountName`: another service account. "
            "`HelperContainers`: changed or removed init containers `fetch` and `install`. Existing revisions keep "
            "the pods that they have."
        ),
    ] = ()
    inline_registry_hosts: Annotated[
        tuple[HostPattern, ...] | None,
        doc(
            "Hosts that spec.model.inlineRegistry may name: host names without a port, or `*.SUFFIX`. An empty list "
            "turns inline registries off. Default: any host."
        ),
    ] = None
    metrics_source_hosts: Annotated[
        tuple[HostPattern, ...] | None,
        doc(
            "Hosts that spec.rollout.analysis.source.address may name, in the same way as inlineRegistryHosts. An "
            "empty list allows only the platform's Prometheus server. Default: any host."
        ),
    ] = None
