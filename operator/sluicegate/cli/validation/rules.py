"""The operator's own rules, for `sluicegate validate`.

They find what the API server accepts and the operator would reject.
"""

from __future__ import annotations

from collections.abc import Iterator

from sluicegate.api.resource import ModelDeployment
from sluicegate.cli.validation.field_problems import Check, FieldProblem
from sluicegate.config.settings import RuntimeSettings, Settings
from sluicegate.core.models.resolution import ResolvedModel, resolve_locally
from sluicegate.core.models.uri import InvalidModelUri, parse
from sluicegate.core.snapshot.revision_spec import intent_of
from sluicegate.render import schema
from sluicegate.render.pod import BUILT_IN, InvalidSpec, pod_template


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


CHECKS: tuple[Check, ...] = (model, pod, autoscaler)


def _problem(resource: ModelDeployment, field: str, message: str) -> FieldProblem:
    return FieldProblem("/".join(resource.key), field, message)
