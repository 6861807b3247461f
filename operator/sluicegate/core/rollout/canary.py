"""The declared canary: the spec that it is made from, and the share that it gets.

`spec.canary` holds what differs from the base. Every function that works on a resource (resolution, intent, pod
template) also works on the canary. It receives the resource as the canary sees it: the base spec with the differences
applied.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from sluicegate.api import names
from sluicegate.api.model import ModelOverride, ModelSpec
from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.runtime import RuntimeSpec
from sluicegate.api.scaling import ScalingSpec
from sluicegate.api.spec import ModelDeploymentSpec
from sluicegate.core.plan.share import Candidate, headers
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Problem, Share


def canary_view(resource: ModelDeployment) -> ModelDeployment | None:
    """Return `resource` as if the canary were its base, or None without a canary.

    If the user moves the content of spec.canary into the base, the result is exactly this spec. So it has the same
    revision and the same pods.
    """
    spec, canary = resource.spec, resource.spec.canary
    if canary is None:
        return None
    laid = replace(
        spec,
        model=_model(spec.model, canary.model),
        runtime=_runtime(spec.runtime, canary.runtime),
        resources=spec.resources if canary.resources is None else canary.resources,
        gpu=spec.gpu if canary.gpu is None else canary.gpu,
        scaling=canary_scaling(spec),
        canary=None,
    )
    return ModelDeployment(resource.metadata, laid, resource.status)


def canary_fields(resource: ModelDeployment, message: str) -> str:
    """Return a message about a canary with the fields that its problem is in.

    A message about a revision names fields of the base. The canary has the field if spec.canary overrides it.
    """
    canary = resource.spec.canary
    if canary is None:
        return message
    model = canary.model
    overridden = {
        "model.uri": model is not None and model.uri is not None,
        "model.registry": model is not None and model.registry is not None,
        "model.inlineRegistry": model is not None and model.inline_registry is not None,
        "runtime": canary.runtime is not None,
        "resources": canary.resources is not None,
        "gpu": canary.gpu is not None,
        "scaling": canary.scaling is not None,
    }
    for field, own in overridden.items():
        if own:
            message = message.replace(f"spec.{field}", f"spec.canary.{field}")
    return message


def canary_scaling(spec: ModelDeploymentSpec) -> ScalingSpec:
    """Return the canary's own scaling, or the base's if it has none."""
    return spec.canary.scaling if spec.canary is not None and spec.canary.scaling is not None else spec.scaling


def _model(base: ModelSpec, override: ModelOverride | None) -> ModelSpec:
    if override is None:
        return base
    own = override.registry is not None or override.inline_registry is not None
    source = override if own else base
    allow = override.allow_signature_change
    return replace(
        base,
        uri=override.uri or base.uri,
        registry=source.registry,
        inline_registry=source.inline_registry,
        allow_signature_change=base.allow_signature_change if allow is None else allow,
    )


def _runtime(base: RuntimeSpec, override: RuntimeSpec | None) -> RuntimeSpec:
    if override is None:
        return base
    changes = {
        field: getattr(override, field) for field in base.__struct_fields__ if getattr(override, field) is not None
    }
    if base.env and override.env:
        own = {variable.name for variable in override.env}
        changes["env"] = (*(variable for variable in base.env if variable.name not in own), *override.env)
    return replace(base, **changes)


def held_at_zero(assessment: Assessment, canary: RevisionHash | None) -> bool:
    """Tell whether the canary must get no requests.

    This is the case if the user has pinned a revision, if the user has aborted the canary, or if its signature is not
    compatible with stable's.
    """
    if assessment.pinned is not None or (canary is not None and assessment.overrides.abort == canary):
        return True
    return bool(assessment.of(canary).incompatible)


def candidate(assessment: Assessment, canary: RevisionHash) -> Candidate:
    """Return the declared canary as a candidate, with its declared share."""
    return Candidate(canary, declared(assessment, canary), canary_scaling(assessment.spec))


def declared(assessment: Assessment, canary: RevisionHash) -> Share:
    """Return the share that the canary should have.

    It leaves out a mirror that any gateway does not support. While spec.paused is true, it is the share that the canary
    has now.
    """
    spec = assessment.spec.canary
    if held_at_zero(assessment, canary):
        return Share()
    if assessment.paused or spec is None:
        return assessment.of(canary).share
    copies = spec.mirror.percent if spec.mirror is not None else 0
    lacks = any(lacking_mirror(assessment, copies, "spec.canary.mirror"))
    return Share(spec.weight, headers(spec.match), 0 if lacks else copies)


def lacking_mirror(assessment: Assessment, percent: int, field: str) -> Iterator[Problem]:
    """Yield a problem for each gateway that cannot mirror requests.

    The operator does not send a mirror to a gateway whose class does not list the feature. Such a gateway may fail
    every request: Traefik 3.7 returns 500 to each request of a rule with a mirror, while it reports Accepted=True.

    Args:
        assessment: All facts on the resource.
        percent: Percentage of the requests to copy.
        field: Path of the spec field that asks for it.
    """
    if percent == 0:
        return
    required_features = {"HTTPRouteRequestMirror"}
    if percent < 100:
        required_features.add("HTTPRouteRequestPercentageMirror")
    for gateway in (*assessment.snapshot.gateways, *assessment.snapshot.former_gateways):
        lacks = sorted(feature for feature in required_features if not gateway.offers(feature))
        if gateway.exists and lacks:
            yield Problem(
                Reason.GATEWAY_LACKS_FEATURE,
                f"{field}: Gateway {gateway.namespace}/{gateway.name} has class {gateway.gateway_class}, "
                f"which does not list {' and '.join(lacks)} as supported, so no request is mirrored. "
                "Remove mirror, or use a gateway of another class."
                + (
                    ""
                    if gateway.features
                    else " The class lists no features: the platform team can set gateway.features."
                ),
            )


def problem(assessment: Assessment) -> Problem | None:
    """Return what the operator cannot do of spec.canary and its annotations.

    It does everything else as declared.
    """
    return next(_problems(assessment), None)


def _problems(assessment: Assessment) -> Iterator[Problem]:
    pin = assessment.overrides.pin
    if pin is not None and assessment.pinned is None:
        existing = ", ".join(sorted(assessment.snapshot.revisions)) or "none"
        yield Problem(
            Reason.PINNED_REVISION_UNKNOWN,
            f"The annotation {names.ANNOTATION_PIN} names revision {pin}, which does not exist: correct or remove it. "
            f"Existing revisions: {existing}.",
        )
    spec = assessment.spec.canary
    if spec is None or assessment.snapshot.desired_canary is None:
        return
    if assessment.snapshot.desired_canary.problem is not None:
        yield assessment.snapshot.desired_canary.problem
    revision = assessment.desired_canary
    if revision is not None and assessment.overrides.promotes(revision):
        yield Problem(
            Reason.PROMOTE_REFUSED,
            f"The annotation {names.ANNOTATION_PROMOTE} cannot promote a declared canary, because that needs a change "
            "of the spec. Move the content of spec.canary into the base of the spec: the same pods keep serving. "
            "Then remove spec.canary and the annotation.",
        )
    if not assessment.routed:
        for field in ("match", "mirror", "scaling"):
            if getattr(spec, field):
                yield Problem(
                    Reason.GATEWAY_REQUIRED,
                    f"spec.canary.{field} has no effect without a gateway: "
                    f"set spec.traffic.gateway.parentRefs, or remove {field}.",
                )
    if spec.mirror is not None:
        yield from lacking_mirror(assessment, spec.mirror.percent, "spec.canary.mirror")
