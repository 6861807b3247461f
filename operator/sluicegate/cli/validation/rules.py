"""The operator's own rules, for `sluicegate validate`.

They find what the API server accepts and the operator would reject.
"""

from __future__ import annotations

from collections.abc import Iterator

from sluicegate.api import duration
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import Manifest, ModelDeployment
from sluicegate.api.traffic import ParentRef
from sluicegate.cli.validation import gateway_api
from sluicegate.cli.validation.field_problems import Check, FieldProblem
from sluicegate.config.settings import RuntimeSettings, Settings
from sluicegate.core.models.resolution import ResolvedModel, resolve_locally
from sluicegate.core.models.uri import InvalidModelUri, parse
from sluicegate.core.plan import share
from sluicegate.core.plan.types import RoutePlan
from sluicegate.core.snapshot.facts import Mirror, Share, Split
from sluicegate.core.snapshot.revision_spec import intent_of
from sluicegate.render import children, schema
from sluicegate.render.pod import BUILT_IN, InvalidSpec, pod_template


def size(resource: ModelDeployment) -> Iterator[FieldProblem]:
    """Check the size of the objects of other APIs, which the CRD cannot limit."""
    if resource.too_large is not None:
        yield _problem(resource, resource.too_large.field, resource.too_large.message)


def model(resource: ModelDeployment) -> Iterator[FieldProblem]:
    """Check the model URI, which may have the right form and still be invalid."""
    try:
        parse(resource.spec.model.uri)
    except InvalidModelUri as error:
        yield _problem(resource, "spec.model.uri", str(error))


def pod(resource: ModelDeployment) -> Iterator[FieldProblem]:
    """Check the pod template against the schema of pods.

    The runtimes that the platform team configures are not known here, so each of them is accepted.
    """
    try:
        ref = parse(resource.spec.model.uri)
    except InvalidModelUri:
        return
    resolved = resolve_locally(ref) or ResolvedModel(uri=str(ref), source="mlflow-artifacts:/model")
    runtime = resource.spec.runtime.name
    added = RuntimeSettings(image="unknown", template=None if runtime in BUILT_IN else "name: model")
    settings = Settings(runtimes={runtime: added} if runtime is not None else {})
    try:
        pod_template(resource, intent_of(resource, resolved, None), settings)
    except InvalidSpec as error:
        yield _problem(resource, "spec.podTemplate", error.problem.message)


def autoscaler(resource: ModelDeployment) -> Iterator[FieldProblem]:
    """Check metrics and behavior against the schema of HorizontalPodAutoscalers."""
    scaling = resource.spec.scaling
    spec = {"maxReplicas": 1, "scaleTargetRef": {"kind": "Deployment", "name": "x"}}
    parts = {"metrics": list(scaling.metrics or ()), "behavior": scaling.behavior}
    for field, value in parts.items():
        if value:
            for problem in schema.problems("HorizontalPodAutoscaler", {"spec": {**spec, field: value}}):
                path, _, message = problem.removeprefix("spec.").partition(": ")
                yield _problem(resource, f"spec.scaling.{path}", message)


def route(resource: ModelDeployment) -> Iterator[FieldProblem]:
    """Check the HTTPRoutes of a resource against the CRD of the Gateway API."""
    problems = {problem for manifest in routes(resource) for problem in gateway_api.problems(manifest)}
    for problem in sorted(problems):
        message = f"the API server would refuse the HTTPRoute: {problem.field}: {problem.message}"
        yield _problem(resource, "spec.traffic.gateway", message)


def routes(resource: ModelDeployment) -> Iterator[Manifest]:
    """Yield the HTTPRoutes of a resource: with the share of the canary, or with that of every step.

    A resource without parentRefs may get the platform's, which are not known here, so it has a stand-in.
    """
    gateway, spec = resource.spec.traffic.gateway, resource.spec
    steps = spec.rollout.steps or ()
    shares = [share.after(steps[: index + 1]) for index in range(len(steps))]
    if spec.canary is not None:
        copied = spec.canary.mirror.percent if spec.canary.mirror is not None else 0
        shares.append(Share(spec.canary.weight, share.headers(spec.canary.match), copied))
    for candidate_share in shares or [Share()]:
        plan = RoutePlan(
            parent_refs=gateway.parent_refs or (ParentRef(name="gateway"),),
            hostnames=gateway.hostnames or (),
            path_prefixes=(gateway.path_prefix or "/" + "/".join(resource.key),),
            timeout_seconds=duration.seconds(spec.traffic.timeout),
            split=_split(candidate_share),
        )
        yield children.route(resource, plan)


def _split(candidate: Share) -> Split:
    """Return the traffic split of a candidate with this share, with stand-ins for the hashes of the revisions."""
    stable, revision = RevisionHash("stable"), RevisionHash("candidate")
    weights = {stable: 100 - candidate.weight, revision: candidate.weight}
    return Split(
        weights={name: weight for name, weight in weights.items() if weight},
        matched=revision if candidate.matches else None,
        matches=candidate.matches,
        mirror=Mirror(revision, candidate.mirror) if candidate.mirror else None,
    )


CHECKS: tuple[Check, ...] = (size, model, pod, autoscaler, route)


def _problem(resource: ModelDeployment, field: str, message: str) -> FieldProblem:
    return FieldProblem("/".join(resource.key), field, message)
