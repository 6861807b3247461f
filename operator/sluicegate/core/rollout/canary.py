"""The declared canary: what it is made of, and what the user lets it have.

`spec.canary` says what differs from the base. Everything that works on a resource (resolution, intent, pod template) works on
the canary too, given the resource as the canary sees it: its spec with the differences laid over it.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from sluicegate.api import names
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.spec import ModelDeploymentSpec, ModelOverride, ModelSpec, RuntimeSpec, ScalingSpec
from sluicegate.core.plan.share import Candidate, Share, headers, present
from sluicegate.core.rollout import compatibility
from sluicegate.core.snapshot.facts import Problem, Snapshot
from sluicegate.core.snapshot.overrides import named, pinned


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
    return bool(compatibility.changes(snapshot, canary))


def candidate(snapshot: Snapshot, canary: str) -> Candidate:
    """The declared canary with what it should have once all is as declared."""
    return Candidate(canary, declared(snapshot, canary), canary_scaling(snapshot.resource.spec))


def declared(snapshot: Snapshot, canary: str) -> Share:
    """What the canary should have of the requests, as far as every gateway supports it; while paused, what it has."""
    spec = snapshot.resource.spec.canary
    if held_at_zero(snapshot, canary):
        return Share()
    if snapshot.resource.spec.paused or spec is None:
        return present(snapshot, canary)
    copies = spec.mirror.percent if spec.mirror is not None else 0
    lacks = any(lacking_mirror(snapshot, copies, "spec.canary.mirror"))
    return Share(spec.weight, headers(spec.match), 0 if lacks else copies)


def lacking_mirror(snapshot: Snapshot, percent: int, field: str) -> Iterator[Problem]:
    """What keeps a mirror from being sent to a gateway: one that does not list a feature may fail every request.

    Traefik 3.7 answers 500 to each request of a rule with a mirror, while saying Accepted=True.

    Args:
        snapshot: What is known.
        percent: Share of the requests to copy.
        field: Where the spec asks for it.
    """
    if percent == 0:
        return
    wanted = {"HTTPRouteRequestMirror"}
    if percent < 100:
        wanted.add("HTTPRouteRequestPercentageMirror")
    for gateway in snapshot.gateways:
        lacks = sorted(feature for feature in wanted if not gateway.offers(feature))
        if gateway.exists and lacks:
            yield Problem(
                "GatewayLacksFeature",
                f"{field}: Gateway {gateway.namespace}/{gateway.name} is of class {gateway.gateway_class}, which does not "
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
    if spec is None or snapshot.desired_canary is None:
        return
    if snapshot.desired_canary.problem is not None:
        yield snapshot.desired_canary.problem
    revision = snapshot.desired_canary.revision
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
    if spec.mirror is not None:
        yield from lacking_mirror(snapshot, spec.mirror.percent, "spec.canary.mirror")
