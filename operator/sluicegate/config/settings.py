"""Settings of the operator, which a platform engineer configures once for all users.

Flags or environment variables set scalars (`--scorer-image` or `SLUICEGATE_SCORER_IMAGE`). One YAML file (`--config`)
sets the structured settings: registries, gateway, runtimes. Flags take precedence over the environment, and the
environment over the file. `docs/reference/settings.md` is generated from these types.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sluicegate import __version__
from sluicegate.api import names
from sluicegate.api.fields import doc
from sluicegate.api.gpu import KEY_PATTERN, Toleration
from sluicegate.api.traffic import Hostname, ParentRef
from sluicegate.config.base import SettingsType
from sluicegate.config.child_settings import ChildSettings
from sluicegate.config.hosts import HostPattern
from sluicegate.config.pod_settings import PodSettings
from sluicegate.config.tenant_settings import TenantSettings


class RegisterWebhookSettings(SettingsType, frozen=True):
    """A webhook subscription that the operator creates in a registry."""

    url: Annotated[
        str,
        Meta(pattern=r"^https?://[^\s@]+$"),
        doc(
            "URL at which the MLflow server reaches the operator's /webhooks/REGISTRY, such as "
            "https://hooks.example.com/webhooks/default."
        ),
    ]


class RegistrySettings(SettingsType, frozen=True):
    """One MLflow registry that resources can refer to by name."""

    tracking_uri: Annotated[
        str,
        Meta(pattern=r"^https?://[^\s@]+$"),
        doc("URL of the MLflow tracking server. It must not contain credentials."),
    ]
    secret: Annotated[
        str | None,
        doc(
            "Secret in the operator's namespace with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "with MLFLOW_TRACKING_TOKEN. The operator uses it to resolve models."
        ),
    ] = None
    pod_secret: Annotated[
        str | None,
        doc(
            "Name of a Secret that exists in each workload namespace. The pods use it to fetch models "
            "(registry credentials, AWS_* for s3). The operator never copies it."
        ),
    ] = None
    webhook_secret: Annotated[
        str | None,
        doc(
            "Secret in the operator's namespace that signs this registry's webhooks, with its key `secret`. "
            "While you rotate the secret, the key `previous` is accepted too. Default: the operator accepts no "
            "webhooks."
        ),
    ] = None
    register_webhook: Annotated[
        RegisterWebhookSettings | None,
        doc(
            "Create and update a webhook subscription in this registry, called sluicegate.CLUSTER and signed "
            "with webhookSecret. The operator's account must have permission to manage webhooks there. "
            "Default: the operator creates no webhook subscription."
        ),
    ] = None
    write_back: Annotated[
        bool,
        doc(
            "Set the tag `sluicegate.dev/served-by.CLUSTER` on served versions, with the resources that serve "
            "them. The operator's account must have permission to edit in the registry."
        ),
    ] = False
    env: Annotated[
        dict[str, str], doc("Additional environment variables of the fetch container, such as MLFLOW_S3_ENDPOINT_URL.")
    ] = {}
    credential_hosts: Annotated[
        tuple[HostPattern, ...],
        doc(
            "Hosts that may receive the pods' credentials when a model's URI names them, such as the web server that "
            "SLUICEGATE_HTTP_TOKEN is for: host names without a port, or `*.SUFFIX`. Default: only the tracking "
            "server, and the hosts of Azure Storage for Azure's credentials."
        ),
    ] = ()

    def __post_init__(self) -> None:
        """Reject settings that exclude each other."""
        if self.register_webhook is not None and self.webhook_secret is None:
            raise ValueError("registerWebhook requires webhookSecret, the Secret that the webhook is signed with")


class GatewaySettings(SettingsType, frozen=True):
    """The Gateway for resources that name none."""

    parent_refs: Annotated[tuple[ParentRef, ...], doc("Gateways to attach routes to. Each needs a namespace.")] = ()
    hostnames: Annotated[
        tuple[Hostname, ...], doc("Host names of every route. Default: all host names of the Gateway.")
    ] = ()
    confine_to_namespace: Annotated[
        bool,
        doc(
            "Allow only the path prefix /NAMESPACE and those below it, where NAMESPACE is that of the ModelDeployment. "
            "A resource with another path prefix gets no route and the reason PathNotAllowed."
        ),
    ] = False
    features: Annotated[
        tuple[str, ...],
        doc(
            "Optional features to assume for Gateways whose GatewayClass lists no features, such as "
            "HTTPRouteRequestMirror. If a class lists features, that list applies instead. Default: none."
        ),
    ] = ()


class PrometheusSettings(SettingsType, frozen=True):
    """The Prometheus server for analyses without spec.rollout.analysis.source.address."""

    address: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s@]+$")] | None,
        doc(
            "URL of the Prometheus server, such as http://prometheus.monitoring:9090. It must not contain "
            "credentials. Default: no server."
        ),
    ] = None
    secret: Annotated[
        str | None,
        doc(
            "Secret in the operator's namespace with username and password, or token. It can also contain "
            "ca.crt, and tls.crt and tls.key for a client certificate. Default: no credentials."
        ),
    ] = None
    namespace_label: Annotated[
        Annotated[str, Meta(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")] | None,
        doc(
            "Label with the namespace of a series, such as `namespace`. The operator adds a matcher for the "
            "ModelDeployment's namespace to each selector of each query, on every server. It refuses queries with "
            "syntax that it does not know. Default: queries are sent as they are."
        ),
    ] = None


class RuntimeSettings(SettingsType, frozen=True):
    """A runtime that the platform team adds, or changes to a built-in one."""

    image: Annotated[str | None, doc("Image to use when spec.runtime.image is absent.")] = None
    template: Annotated[
        str | None,
        doc(
            "Jinja2 template of the scoring container. docs/guide/runtimes.md lists its variables. Default: "
            "the built-in template of that name."
        ),
    ] = None


class NotificationSettings(SettingsType, frozen=True):
    """A receiver of notifications about rollouts."""

    url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s@]+$")] | None,
        doc(
            "URL to post notifications to, if it is not secret. Excludes secret. Default: the key `url` of the Secret."
        ),
    ] = None
    secret: Annotated[
        str | None,
        doc(
            "Secret in the operator's namespace whose key `url` contains the URL, for receivers whose URL is "
            "secret, such as Slack. Optional keys: `authorization` (the value of that header) and `ca.crt`. "
            "Excludes url."
        ),
    ] = None
    format: Annotated[
        Literal["JSON", "Slack"],
        doc(
            "Format of a notification. `JSON`: an object that docs/guide/notifications.md describes. `Slack`: "
            "a text that Slack, Mattermost and others show."
        ),
    ] = "JSON"
    events: Annotated[
        tuple[Literal["RolledBack", "Promoted", "Paused", "Failed"], ...],
        Meta(min_length=1),
        doc("Events to send."),
    ] = ("RolledBack", "Promoted", "Paused", "Failed")
    namespaces: Annotated[tuple[str, ...], doc("Namespaces whose events are sent. Default: all.")] = ()

    def __post_init__(self) -> None:
        """Require exactly one of url and secret."""
        if (self.url is None) == (self.secret is None):
            raise ValueError("a notification requires either url or secret")


IndexUrl = Annotated[str, Meta(pattern=r"^https?://[^\s@]+$")]


class DependencySettings(SettingsType, frozen=True):
    """How models' Python requirements are checked, and installed for spec.runtime.dependencies: Install."""

    check: Annotated[
        Literal["warn", "missing", "refuse"],
        doc(
            "How the scoring image treats a model whose requirements differ from the installed packages. "
            "`warn`: log the differences. `missing`: reject a model if a package is missing. `refuse`: reject "
            "a model on any difference. SLUICEGATE_DEPENDENCIES in spec.runtime.env takes precedence."
        ),
    ] = "missing"
    index_url: Annotated[
        IndexUrl | None,
        doc("URL of the package index (PEP 503) to install from. It must not contain credentials. Default: PyPI."),
    ] = None
    extra_index_urls: Annotated[
        tuple[IndexUrl, ...],
        doc("URLs of additional package indexes. A package is installed from the first index that has it."),
    ] = ()
    pod_secret: Annotated[
        str | None,
        doc(
            "Name of a Secret that exists in each workload namespace. Its keys are environment variables of "
            "the install container, such as UV_DEFAULT_INDEX with a password in it. The operator never copies "
            "it."
        ),
    ] = None
    env: Annotated[
        dict[str, str],
        doc(
            "Additional environment variables of the install container, such as HTTPS_PROXY, NO_PROXY or UV_FIND_LINKS."
        ),
    ] = {}
    cache_claim: Annotated[
        str | None,
        doc(
            "Name of a PersistentVolumeClaim that exists in each workload namespace. All pods of the namespace "
            "share the packages installed there. More than one node requires ReadWriteMany. Default: each pod "
            "has its own volume."
        ),
    ] = None
    size_limit: Annotated[str, doc("Size limit of a pod's own emptyDir volume for packages, without cacheClaim.")] = (
        "20Gi"
    )
    timeout: Annotated[int, Meta(ge=1), doc("Maximum time to install packages, in seconds.")] = 300


LabelKey = Annotated[str, Meta(pattern=KEY_PATTERN, max_length=316)]


class GpuSettings(SettingsType, frozen=True):
    """The node labels and taints of one accelerator domain, such as nvidia.com, where NVIDIA's do not apply."""

    product_label: Annotated[
        LabelKey | None, doc("Node label that spec.gpu.products is compared with. Default: RESOURCE.product.")
    ] = None
    memory_label: Annotated[
        LabelKey | None,
        doc(
            "Node label that spec.gpu.minMemory is compared with. Its value must be the memory of one device "
            "as a whole number of MiB. Default: RESOURCE.memory."
        ),
    ] = None
    tolerations: Annotated[
        tuple[Toleration, ...] | None,
        doc(
            "Taints that pods tolerate when spec.gpu.tolerations is absent. Default: the default of "
            "spec.gpu.tolerations."
        ),
    ] = None


class Settings(SettingsType, frozen=True):
    """All settings of the operator."""

    namespace: Annotated[str | None, doc("Namespace to watch. Default: all namespaces.")] = None
    operator_namespace: Annotated[str, doc("Namespace of the operator's Lease and Secrets.")] = "sluicegate-system"
    scorer_image: Annotated[str, doc("Image that fetches models, and that the runtime `mlflow` runs.")] = (
        f"ghcr.io/sluicegate/scorer:{__version__}"
    )
    image_pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"], doc("imagePullPolicy of the pods.")] = (
        "IfNotPresent"
    )
    model_size_limit: Annotated[str, doc("Maximum size of a fetched model: the size limit of its emptyDir volume.")] = (
        "20Gi"
    )
    default_registry: Annotated[str, doc("Name of the registry for resources that name none.")] = "default"
    cluster_name: Annotated[
        str,
        Meta(pattern="^[a-zA-Z0-9]([-a-zA-Z0-9._]{0,61}[a-zA-Z0-9])?$"),
        doc(
            "Name of this cluster in the tags that `writeBack` sets and in the webhook subscription that "
            "`registerWebhook` creates. Clusters that share a registry need different names."
        ),
    ] = "kubernetes"
    registries: Annotated[dict[str, RegistrySettings], doc("MLflow registries by name.")] = {}
    follow_interval: Annotated[
        float,
        Meta(ge=1),
        doc(
            "Seconds between two polls of the registry for changes of an alias, a stage or `latest`. Each "
            "followed model costs one request."
        ),
    ] = 30.0
    gateway: Annotated[GatewaySettings, doc("Gateway for resources that name none.")] = GatewaySettings()
    prometheus: Annotated[PrometheusSettings, doc("Prometheus server for analyses that name none.")] = (
        PrometheusSettings()
    )
    runtimes: Annotated[
        dict[str, RuntimeSettings], doc("Runtimes by name, to add one or to change a built-in one.")
    ] = {}
    dependencies: Annotated[DependencySettings, doc("How models' Python requirements are checked and installed.")] = (
        DependencySettings()
    )
    gpu: Annotated[
        dict[str, GpuSettings], doc("Node labels and taints for accelerators, by the domain of the resource.")
    ] = {}
    children: Annotated[ChildSettings, doc("The children of a ModelDeployment outside their pods.")] = ChildSettings()
    pods: Annotated[PodSettings, doc("What every pod of a model has, without spec.podTemplate.")] = PodSettings()
    tenants: Annotated[TenantSettings, doc("What a ModelDeployment may not do.")] = TenantSettings()
    notifications: Annotated[
        dict[str, NotificationSettings],
        doc("Receivers of notifications about rollbacks, promotions, pauses and failures, by name."),
    ] = {}
    workers: Annotated[int, Meta(ge=1, le=64), doc("Number of resources that are reconciled concurrently.")] = 8
    resync: Annotated[
        float, Meta(ge=10), doc("Seconds between two full relists, which find changes that a watch missed.")
    ] = 600.0
    leader_election: Annotated[
        bool, doc("Acquire the Lease before reconciling. Required with more than one replica.")
    ] = True
    health_port: Annotated[
        int, Meta(ge=0, le=65535), doc("Port of /healthz, /readyz and /metrics. 0 selects a free port.")
    ] = 8080
    metrics_authentication: Annotated[
        bool,
        doc(
            "Require on /metrics the token of a user that may get the non-resource URL /metrics. The operator asks "
            "the API server (TokenReview, SubjectAccessReview)."
        ),
    ] = False
    webhook_port: Annotated[
        int,
        Meta(ge=0, le=65535),
        doc("Port of /webhooks/REGISTRY, used if any registry has a webhookSecret. 0 selects a free port."),
    ] = 8081
    log_format: Annotated[Literal["json", "text"], doc("Format of log lines.")] = "text"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], doc("Minimum severity of log lines.")] = "info"

    @property
    def lease(self) -> tuple[str, str]:
        """Return the namespace and name of the operator's Lease.

        Several operators may run in one cluster, each for its own namespace. Each of them has its own Lease.
        """
        return self.operator_namespace, f"{names.LEASE}-{self.namespace}" if self.namespace else names.LEASE


class InvalidSettings(ValueError):
    """A setting is wrong. The message names the setting and where it came from."""


def build(layers: list[tuple[str, dict[str, Any]]]) -> Settings:
    """Merge layers of `(origin, values)` into settings.

    A later layer replaces the values of an earlier one key by key.

    Raises:
        InvalidSettings: A key is unknown or a value has the wrong type.
    """
    merged: dict[str, Any] = {}
    for origin, values in layers:
        try:
            msgspec.convert(values, Settings, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidSettings(f"{origin}: {error}") from error
        merged.update(values)
    return msgspec.convert(merged, Settings, strict=False)
