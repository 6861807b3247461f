"""`spec.model`: the model, and the registry it comes from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from sluicegate.api.fields import ApiType, DnsLabel, Duration, HttpUrl, ObjectName, Rule, doc, text

_TEXT = r"[^\x00-\x1f\x7f]"
_PART = r"[^/\x00-\x1f\x7f]"
_VERSION = "[0-9]{1,10}|(?i:latest|none|staging|production|archived)"
MODEL_URI_PATTERN = (
    rf"^(models:/(m-[A-Za-z0-9_-]+|{_PART}+/({_VERSION})|{_PART}+@[A-Za-z0-9_-]+)"
    rf"|runs:/{_PART}+/{_TEXT}+|mlflow-artifacts:/{_TEXT}+"
    rf"|(s3|gs|az)://{_PART}+/{_TEXT}+|(wasbs?|abfss?)://[a-z0-9$-]+@[A-Za-z0-9.-]+/{_TEXT}+"
    rf"|https?://[A-Za-z0-9.-]+(:[0-9]+)?/[^?#\x00-\x1f\x7f]+"
    rf"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/{_TEXT}*)?|image:///{_TEXT}+)$"
)
MODEL_URI_FORMS = (
    "models:/NAME/VERSION, models:/NAME@ALIAS, models:/NAME/STAGE, models:/NAME/latest, models:/MODEL-ID, "
    "runs:/RUN-ID/PATH, "
    "mlflow-artifacts:/PATH, s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, wasbs:// or "
    "abfss://CONTAINER@ACCOUNT-HOST/PATH, "
    "https://HOST/PATH, pvc://CLAIM/PATH, or image:///PATH"
)

ModelUri = Annotated[
    str,
    text(
        MODEL_URI_PATTERN,
        f"must have one of the forms {MODEL_URI_FORMS}",
        1024,
        (Rule("!self.matches('(^|/)[.][.](/|$)')", "must not have the path segment '..': write the path without it"),),
    ),
    doc(
        "URI of the model to serve. From an MLflow registry: models:/NAME/VERSION, models:/NAME@ALIAS, "
        "models:/NAME/STAGE, models:/NAME/latest, models:/MODEL-ID or runs:/RUN-ID/PATH. From an artifact "
        "store: mlflow-artifacts:/PATH, s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, wasbs:// or "
        "abfss://CONTAINER@ACCOUNT-HOST/PATH, or https://HOST/PATH (a folder that the server lists, .zip or "
        ".tar.gz). From a volume: pvc://CLAIM/PATH. From the image in spec.runtime.image: image:///PATH."
    ),
]


class SecretRef(ApiType, frozen=True):
    """A Secret in the ModelDeployment's namespace."""

    name: Annotated[ObjectName, doc("Name of the Secret.")]


class InlineRegistry(ApiType, frozen=True):
    """An MLflow registry that only this resource uses."""

    tracking_uri: Annotated[
        HttpUrl,
        doc("URL of the MLflow tracking server, such as https://mlflow.example.com. It must not contain credentials."),
    ]
    secret_ref: Annotated[
        SecretRef | None,
        doc(
            "Secret with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or with MLFLOW_TRACKING_TOKEN. "
            "For s3://, also with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. The pods that fetch the model "
            "use it. The operator also reads it, if the platform allows that. Default: no credentials."
        ),
    ] = None


_REGISTRY = doc(
    "Name of a registry that the platform team configured. Excludes inlineRegistry. Default: the "
    "platform's default registry, called `default`."
)
_INLINE = doc("Registry for this resource only, instead of a configured one. Excludes registry. Default: none.")
_STALENESS = doc(
    "Time for which the registry may have a newer version than the stable one before the condition Stale "
    "becomes True, such as 24h. Default: never."
)
_AGAINST = doc(
    "Which versions maxStaleness and the newer-version metric count as newer. `Alias`: another version "
    "that uri now resolves to. `Model`: any higher version of the registered model, even if uri does not "
    "resolve to it. Default: Alias."
)
_SIGNATURE = doc(
    "Allow a version to receive traffic even if its signature is not compatible with that of the stable "
    "version. Default: false."
)
_ONE_REGISTRY = Rule(
    "!(has(self.registry) && has(self.inlineRegistry))",
    "set registry (a configured registry's name) or inlineRegistry (a URL), not both",
    ".inlineRegistry",
)
RegistryName = DnsLabel


class ModelSpec(ApiType, frozen=True):
    """The model and the registry it comes from."""

    RULES: ClassVar = (_ONE_REGISTRY,)

    uri: ModelUri
    registry: Annotated[RegistryName | None, _REGISTRY] = None
    inline_registry: Annotated[InlineRegistry | None, _INLINE] = None
    max_staleness: Annotated[Duration | None, _STALENESS] = None
    stale_against: Annotated[Literal["Alias", "Model"] | None, _AGAINST] = None
    allow_signature_change: Annotated[bool, _SIGNATURE] = False


class ModelOverride(ApiType, frozen=True):
    """What a canary changes about the model. An absent field has the value of spec.model."""

    RULES: ClassVar = (_ONE_REGISTRY,)

    uri: Annotated[
        ModelUri | None,
        doc(
            "URI of the model that the canary serves, in the forms of spec.model.uri. Default: the value of "
            "spec.model.uri."
        ),
    ] = None
    registry: Annotated[
        RegistryName | None,
        doc(
            "Name of a registry that the platform team configured. Excludes inlineRegistry. Default: the registry "
            "of spec.model."
        ),
    ] = None
    inline_registry: Annotated[
        InlineRegistry | None,
        doc(
            "Registry for the canary only, instead of a configured one. Excludes registry. Default: the registry "
            "of spec.model."
        ),
    ] = None
    allow_signature_change: Annotated[
        bool | None,
        doc(
            "Allow the canary to receive traffic even if its signature is not compatible with that of the "
            "stable version. Default: the value of spec.model.allowSignatureChange."
        ),
    ] = None
