"""Settings of the operator: what a platform engineer decides once for everybody.

Scalars come from flags or environment variables (`--scorer-image` or `SLUICEGATE_SCORER_IMAGE`), the structured ones
(registries, gateway, runtimes) from one YAML file (`--config`). Flags win over the environment, the environment over the
file. `docs/reference/settings.md` is generated from these types.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sluicegate import __version__
from sluicegate.api.fields import doc
from sluicegate.api.gpu import KEY_PATTERN, Toleration
from sluicegate.api.traffic import Hostname, ParentRef


class SettingsType(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of all settings: unlike in the API, an unknown key is an error, because nothing has pruned it."""


class RegisterWebhookSettings(SettingsType, frozen=True):
    """A webhook that the operator itself makes in a registry."""

    url: Annotated[
        str,
        Meta(pattern=r"^https?://[^\s@]+$"),
        doc(
            "Where the MLflow server reaches the operator's /webhooks/REGISTRY, such as https://hooks.example.com/webhooks/default."
        ),
    ]


class RegistrySettings(SettingsType, frozen=True):
    """One MLflow registry that resources may name."""

    tracking_uri: Annotated[
        str, Meta(pattern=r"^https?://[^\s@]+$"), doc("URL of the tracking server, without credentials.")
    ]
    secret: Annotated[
        str | None,
        doc(
            "Secret in the operator's namespace with MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN. The operator resolves with it."
        ),
    ] = None
    pod_secret: Annotated[
        str | None,
        doc(
            "Name of a Secret that each workload namespace has; the pods fetch with it (registry credentials, AWS_* for s3). Never copied by the operator."
        ),
    ] = None
    webhook_secret: Annotated[
        str | None,
        doc(
            "Secret in the operator's namespace whose keys `secret` and, while it is being rotated, `previous` sign this registry's webhooks. Default: no webhooks are taken."
        ),
    ] = None
    register_webhook: Annotated[
        RegisterWebhookSettings | None,
        doc(
            "Make and keep up to date a webhook in this registry, called sluicegate.CLUSTER and signed with webhookSecret; needs the right to "
            "manage webhooks there. Default: somebody else makes it."
        ),
    ] = None
    write_back: Annotated[
        bool,
        doc(
            "Tag the versions that are served `sluicegate.dev/served-by.CLUSTER`, with the resources that serve them; needs the right to edit in the registry."
        ),
    ] = False
    env: Annotated[
        dict[str, str], doc("More environment variables of the fetching container, such as MLFLOW_S3_ENDPOINT_URL.")
    ] = {}

    def __post_init__(self) -> None:
        """Refuse what cannot work together."""
        if self.register_webhook is not None and self.webhook_secret is None:
            raise ValueError(
                "registerWebhook needs webhookSecret too: it names the Secret that the webhook is signed with"
            )


class GatewaySettings(SettingsType, frozen=True):
    """The Gateway that resources attach to when they name none."""

    parent_refs: Annotated[tuple[ParentRef, ...], doc("Gateways; each needs a namespace here.")] = ()
    hostnames: Annotated[
        tuple[Hostname, ...], doc("Host names of every route. Default: all that the Gateway has.")
    ] = ()
    features: Annotated[
        tuple[str, ...],
        doc(
            "Optional features that hold for Gateways whose class lists none at all, such as HTTPRouteRequestMirror. A class that lists its own "
            "is believed. Default: none."
        ),
    ] = ()


class PrometheusSettings(SettingsType, frozen=True):
    """The Prometheus server that analyses ask where spec.rollout.analysis.source.address is absent."""

    address: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s@]+$")] | None,
        doc("Its URL, such as http://prometheus.monitoring:9090, without credentials. Default: there is none."),
    ] = None
    secret: Annotated[
        str | None,
        doc(
            "Secret in the operator's namespace with username and password, or token; ca.crt, or tls.crt and tls.key. Default: no credentials."
        ),
    ] = None


class RuntimeSettings(SettingsType, frozen=True):
    """A runtime that the platform adds, or a change of a built-in one."""

    image: Annotated[str | None, doc("Image where spec.runtime.image is absent.")] = None
    template: Annotated[
        str | None,
        doc(
            "The scoring container as a Jinja2 text, with the context that docs/guide/runtimes.md lists. Default: the built-in template of that name."
        ),
    ] = None


class NotificationSettings(SettingsType, frozen=True):
    """Whom to tell what rollouts came to."""

    url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s@]+$")] | None,
        doc("Where to post, if the address is no secret. Default: the Secret has it."),
    ] = None
    secret: Annotated[
        str | None,
        doc(
            "Secret in the operator's namespace whose key `url` is the address (Slack's is a secret), with the keys `authorization` (that header's "
            "value) and `ca.crt` where they are needed."
        ),
    ] = None
    format: Annotated[
        Literal["JSON", "Slack"],
        doc(
            "`JSON`: an object, as docs/guide/notifications.md has it. `Slack`: a text that Slack, Mattermost and others show."
        ),
    ] = "JSON"
    events: Annotated[
        tuple[Literal["RolledBack", "Promoted", "Paused", "Failed"], ...],
        Meta(min_length=1),
        doc("What to tell."),
    ] = ("RolledBack", "Promoted", "Paused", "Failed")
    namespaces: Annotated[tuple[str, ...], doc("Of which namespaces. Default: all.")] = ()

    def __post_init__(self) -> None:
        """One address, from one place."""
        if (self.url is None) == (self.secret is None):
            raise ValueError("a notification needs either url or secret, which says where to post")


IndexUrl = Annotated[str, Meta(pattern=r"^https?://[^\s@]+$")]


class DependencySettings(SettingsType, frozen=True):
    """How the packages that models ask for are looked at, and installed where spec.runtime.dependencies is Install."""

    check: Annotated[
        Literal["warn", "missing", "refuse"],
        doc(
            "What the scoring image does where a model asks for other packages than there are: tell; refuse a model of which one is missing; "
            "refuse any difference. SLUICEGATE_DEPENDENCIES in spec.runtime.env wins."
        ),
    ] = "missing"
    index_url: Annotated[
        IndexUrl | None,
        doc("Package index (PEP 503) to install from, without credentials. Default: PyPI."),
    ] = None
    extra_index_urls: Annotated[
        tuple[IndexUrl, ...],
        doc("More package indexes; the first one that has a package is the one it is taken from."),
    ] = ()
    pod_secret: Annotated[
        str | None,
        doc(
            "Name of a Secret that each workload namespace has; its keys are environment variables of the installing container, such as "
            "UV_DEFAULT_INDEX with a password in it. Never copied by the operator."
        ),
    ] = None
    env: Annotated[
        dict[str, str],
        doc("More environment variables of the installing container, such as HTTPS_PROXY, NO_PROXY or UV_FIND_LINKS."),
    ] = {}
    cache_claim: Annotated[
        str | None,
        doc(
            "Name of a PersistentVolumeClaim that each workload namespace has, where what was installed stays for all pods of the namespace "
            "(ReadWriteMany for more than one node). Default: each pod has its own."
        ),
    ] = None
    size_limit: Annotated[str, doc("Size limit of a pod's own emptyDir, where there is no cacheClaim.")] = "20Gi"
    timeout: Annotated[int, Meta(ge=1), doc("Seconds that installing may take.")] = 300


LabelKey = Annotated[str, Meta(pattern=KEY_PATTERN, max_length=316)]


class GpuSettings(SettingsType, frozen=True):
    """How nodes show the accelerators of one domain, such as nvidia.com, where it is not the way of NVIDIA's own labels."""

    product_label: Annotated[
        LabelKey | None, doc("Node label that spec.gpu.products are values of. Default: RESOURCE.product.")
    ] = None
    memory_label: Annotated[
        LabelKey | None,
        doc(
            "Node label with the memory of one device as a whole number of MiB, for spec.gpu.minMemory. Default: RESOURCE.memory."
        ),
    ] = None
    tolerations: Annotated[
        tuple[Toleration, ...] | None,
        doc("Taints that pods tolerate where spec.gpu.tolerations is absent. Default: as told there."),
    ] = None


class Settings(SettingsType, frozen=True):
    """Everything that can be set."""

    namespace: Annotated[str | None, doc("Serve only this namespace. Default: all namespaces.")] = None
    operator_namespace: Annotated[str, doc("Namespace of the operator's own Lease and Secrets.")] = "sluicegate-system"
    scorer_image: Annotated[str, doc("Image that fetches models, and that the runtime `mlflow` runs.")] = (
        f"ghcr.io/sluicegate/scorer:{__version__}"
    )
    image_pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"], doc("imagePullPolicy of the pods.")] = (
        "IfNotPresent"
    )
    model_size_limit: Annotated[str, doc("Largest size of a fetched model: the size limit of its emptyDir.")] = "20Gi"
    default_registry: Annotated[str, doc("Registry of resources that name none.")] = "default"
    cluster_name: Annotated[
        str,
        Meta(pattern="^[a-zA-Z0-9]([-a-zA-Z0-9._]{0,61}[a-zA-Z0-9])?$"),
        doc(
            "Name of this cluster in the tags that `writeBack` sets and the webhook that `registerWebhook` makes; another one for each cluster of a "
            "registry."
        ),
    ] = "kubernetes"
    registries: Annotated[dict[str, RegistrySettings], doc("MLflow registries by name.")] = {}
    follow_interval: Annotated[
        float,
        Meta(ge=1),
        doc(
            "Seconds between two looks at what an alias, a stage or `latest` points to: one request for each followed model."
        ),
    ] = 30.0
    gateway: Annotated[GatewaySettings, doc("Gateway of resources that name none.")] = GatewaySettings()
    prometheus: Annotated[PrometheusSettings, doc("Prometheus of analyses that name none.")] = PrometheusSettings()
    runtimes: Annotated[dict[str, RuntimeSettings], doc("Runtimes added or changed, by name.")] = {}
    dependencies: Annotated[
        DependencySettings, doc("Packages that models ask for: how they are checked and installed.")
    ] = DependencySettings()
    gpu: Annotated[
        dict[str, GpuSettings], doc("Labels and taints of nodes with accelerators, by the resource's domain.")
    ] = {}
    notifications: Annotated[
        dict[str, NotificationSettings], doc("Whom to tell of rollbacks, promotions, pauses and failures, by name.")
    ] = {}
    workers: Annotated[int, Meta(ge=1, le=64), doc("Resources reconciled at the same time.")] = 8
    resync: Annotated[
        float, Meta(ge=10), doc("Seconds between two full relists, the safety net under the watches.")
    ] = 600.0
    leader_election: Annotated[bool, doc("Wait for the Lease before acting. Needed with more than one replica.")] = True
    health_port: Annotated[
        int, Meta(ge=0, le=65535), doc("Port of /healthz, /readyz and /metrics; 0 picks a free one.")
    ] = 8080
    webhook_port: Annotated[
        int,
        Meta(ge=0, le=65535),
        doc("Port of /webhooks/REGISTRY, where any registry has a webhookSecret; 0 picks a free one."),
    ] = 8081
    log_format: Annotated[Literal["json", "text"], doc("How log lines look.")] = "text"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], doc("Least severe line that is logged.")] = (
        "info"
    )


class InvalidSettings(ValueError):
    """A setting is wrong; the sentence names it and says where it came from."""


def build(layers: list[tuple[str, dict[str, Any]]]) -> Settings:
    """Settings from layers of `(origin, values)`, later layers winning key by key.

    Raises:
        InvalidSettings: a key is unknown or a value has the wrong type.
    """
    merged: dict[str, Any] = {}
    for origin, values in layers:
        try:
            msgspec.convert(values, Settings, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidSettings(f"{origin}: {error}") from error
        merged.update(values)
    return msgspec.convert(merged, Settings, strict=False)
