"""The declared canary: what it is made of, and what the user lets it have.

`spec.canary` says what differs from the base. Everything that works on a resource (resolution, intent, pod template) works on
the canary too, given the resource as the canary sees it: its spec with the differences laid over it.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from sluicegate.api import names
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.spec import CanarySpec, ModelDeploymentSpec, ModelOverride, ModelSpec, RuntimeSpec, ScalingSpec
from sluicegate.api.traffic import Header
from sluicegate.core import guard
from sluicegate.core.annotations import named, pinned
from sluicegate.core.facts import Problem, Snapshot


def canary_view(resource: ModelDeployment) -> ModelDeployment | None:
    """`resource` as if the canary were its base; None without a canary.

    Moving the canary's content into the base gives exactly this spec, so the same revision, so the same pods.
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


def canary_scaling(spec: ModelDeploymentSpec) -> ScalingSpec:
    """The canary's scaling: its own, or the base's."""
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
        own = {each.name for each in override.env}
        changes["env"] = (*(each for each in base.env if each.name not in own), *override.env)
    return replace(base, **changes)


def held_at_zero(snapshot: Snapshot, canary: str | None) -> bool:
    """Whether the canary gets no request: a person has pinned a revision or aborted it, or its signature does not fit."""
    if pinned(snapshot) is not None or (canary is not None and named(snapshot, names.ANNOTATION_ABORT) == canary):
        return True
    return bool(guard.changes(snapshot, canary))


def declared_weight(snapshot: Snapshot, canary: str | None) -> int:
    """Percent of the requests that the canary should have once all is as declared."""
    spec = snapshot.resource.spec.canary
    if canary is None or held_at_zero(snapshot, canary):
        return 0
    if snapshot.resource.spec.paused or spec is None:
        return snapshot.split.weight(canary)
    return spec.weight


def declared_matches(snapshot: Snapshot, canary: str | None) -> tuple[Header, ...]:
    """Headers of which any one sends a request to the canary."""
    spec = snapshot.resource.spec.canary
    if canary is None or held_at_zero(snapshot, canary):
        return ()
    if snapshot.resource.spec.paused or spec is None:
        return snapshot.split.matches if snapshot.split.matched == canary else ()
    return tuple(replace(each.header, type=each.header.type or "Exact") for each in spec.match or ())


def declared_mirror(snapshot: Snapshot, canary: str | None) -> int:
    """Percent of the requests that are copied to the canary, as far as every gateway supports it."""
    spec = snapshot.resource.spec.canary
    if canary is None or held_at_zero(snapshot, canary):
        return 0
    if snapshot.resource.spec.paused or spec is None:
        mirror = snapshot.split.mirror
        return mirror.percent if mirror is not None and mirror.revision == canary else 0
    if spec.mirror is None or any(lacking_mirror(snapshot, spec)):
        return 0
    return spec.mirror.percent


def lacking_mirror(snapshot: Snapshot, canary: CanarySpec) -> Iterator[Problem]:
    """What keeps `canary.mirror` from being sent to a gateway: one that does not list a feature may fail every request.

    Traefik 3.7 answers 500 to each request of a rule with a mirror, while saying Accepted=True.
    """
    if canary.mirror is None or canary.mirror.percent == 0:
        return
    wanted = {"HTTPRouteRequestMirror"}
    if canary.mirror.percent < 100:
        wanted.add("HTTPRouteRequestPercentageMirror")
    for gateway in snapshot.gateways:
        lacks = sorted(feature for feature in wanted if not gateway.offers(feature))
        if gateway.exists and lacks:
            yield Problem(
                "GatewayLacksFeature",
                f"spec.canary.mirror: Gateway {gateway.namespace}/{gateway.name} is of class {gateway.gateway_class}, which does not "
                f"list {' and '.join(lacks)} among its supported features, so nothing is mirrored: remove mirror, or name a "
                "gateway of another class"
                + ("." if gateway.features else ", or have the platform set gateway.features: the class lists none."),
            )


def problem(snapshot: Snapshot) -> Problem | None:
    """What about spec.canary and the annotations on it cannot be done as written; the rest of it is."""
    return next(_problems(snapshot), None)


def _problems(snapshot: Snapshot) -> Iterator[Problem]:
    pin = named(snapshot, names.ANNOTATION_PIN)
    if pin is not None and pinned(snapshot) is None:
        known = ", ".join(sorted(snapshot.revisions)) or "none"
        yield Problem(
            "PinnedRevisionUnknown",
            f"The annotation {names.ANNOTATION_PIN} names revision {pin}, which is not there (there: {known}): correct or remove it.",
        )
    spec = snapshot.resource.spec.canary
    if spec is None or snapshot.canary is None:
        return
    if snapshot.canary.problem is not None:
        yield snapshot.canary.problem
    revision = snapshot.canary.revision
    if revision is not None and named(snapshot, names.ANNOTATION_PROMOTE) == revision:
        yield Problem(
            "PromoteRefused",
            f"The annotation {names.ANNOTATION_PROMOTE} cannot promote a declared canary, because the spec is yours: write what "
            "spec.canary changes into the base and remove spec.canary; the same pods go on serving. Then remove the annotation.",
        )
    if not snapshot.routed:
        for field in ("match", "mirror", "scaling"):
            if getattr(spec, field):
                why = "its pods follow from its weight" if field == "scaling" else "it is done by a gateway"
                yield Problem(
                    "GatewayRequired",
                    f"spec.canary.{field} has no effect without a gateway ({why}): name one in spec.traffic.gateway.parentRefs, "
                    f"or remove {field}.",
                )
    yield from lacking_mirror(snapshot, spec)
