"""`sluicegate render`: the children of a ModelDeployment as YAML, without a cluster and without a registry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import yaml

from sluicegate.api import names
from sluicegate.api.resource import InvalidResource, ModelDeployment, decode
from sluicegate.api.settings import InvalidSettings, Settings, build
from sluicegate.api.status import ModelDeploymentStatus, RevisionStatus, Role
from sluicegate.cli.checks import CHECKS
from sluicegate.cli.documents import Unreadable
from sluicegate.cli.documents import read as read_documents
from sluicegate.cli.settings import read
from sluicegate.cli.validate import is_ours, validate
from sluicegate.core.decide import decide
from sluicegate.core.facts import DeploymentFacts, GatewayFacts, PodFacts, Revision, Snapshot, Target
from sluicegate.core.intent import Intent, fetched_from, intent_of
from sluicegate.core.model_uri import InvalidModelUri, LoggedModel, RegistryVersion, RunArtifact, parse
from sluicegate.core.resolution import ResolvedModel, resolve_locally
from sluicegate.core.unsupported import unsupported
from sluicegate.render import children
from sluicegate.render.pod import Refused, pod_template

Manifest = dict[str, Any]


STAND_IN = ("stand-in", {"registries": {"default": {"trackingUri": "http://registry.invalid"}}})
"""Settings where the user gives none: pods are rendered with a registry that is plainly not one."""


class CannotRender(ValueError):
    """A sentence for the user."""


def run(files: list[str], resolutions: list[str], config: str | None) -> int:
    """Prints the children of every ModelDeployment in `files`; 1 when one could not be rendered."""
    try:
        settings = build([(config, read(config))] if config else [STAND_IN])
        answers = dict(_answer(each) for each in resolutions)
        documents = [document for file in files for document in read_documents(file) if is_ours(document)]
        if findings := validate(documents, CHECKS):
            raise CannotRender("\n".join(str(finding) for finding in findings))
        manifests = [manifest for document in documents for manifest in render(document, settings, answers)]
    except (CannotRender, InvalidSettings, InvalidResource, Refused, Unreadable) as error:
        print(f"sluicegate render: {error}", file=sys.stderr)
        return 1
    yaml.safe_dump_all(manifests, sys.stdout, sort_keys=False, explicit_start=True)
    return 0


def render(document: Manifest, settings: Settings, answers: dict[str, str]) -> Iterator[Manifest]:
    """The children of one ModelDeployment as they will be once it serves.

    Args:
        document: The ModelDeployment.
        settings: The operator's.
        answers: Version by model URI: what the registry would say.

    Raises:
        CannotRender: a version is missing, or the spec uses what this version does not support.
        Refused: the spec gives no pod template.
    """
    resource = decode(
        {
            "metadata": {"uid": "00000000-0000-0000-0000-000000000000", **document["metadata"]},
            "spec": document.get("spec"),
        }
    )
    if (problem := unsupported(resource)) is not None:
        raise CannotRender(problem.message)
    resolved = resolve(resource, answers)
    intent = intent_of(resource, resolved, fetched_from(resource, resolved, settings))
    template = pod_template(resource, intent, settings)
    yield children.record(resource, intent, 1, template)
    plan = decide(serving(resource, intent, settings))
    yield from children.render(resource, plan, {intent.hash: template})


def resolve(resource: ModelDeployment, answers: dict[str, str]) -> ResolvedModel:
    """The model, by what the URI itself says or by `answers`."""
    uri = resource.spec.model.uri
    try:
        ref = parse(uri)
    except InvalidModelUri as error:
        raise CannotRender(f"spec.model.uri: {error}") from error
    local = resolve_locally(ref)
    if local is not None:
        return local
    version = str(ref.version) if isinstance(ref, RegistryVersion) else answers.get(uri)
    if version is None:
        raise CannotRender(f"{uri} needs a registry: say what it would answer with --resolve '{uri}=VERSION'")
    name = None if isinstance(ref, LoggedModel | RunArtifact) else ref.name  # type: ignore[union-attr]
    return ResolvedModel(uri=uri, source=f"mlflow-artifacts:/{name or 'model'}/{version}", name=name, version=version)


def serving(resource: ModelDeployment, intent: Intent, settings: Settings) -> Snapshot:
    """The resource as it is once its revision serves, so that every child shows."""
    revision, name = intent.hash, resource.metadata.name
    child = names.child_name(name, revision)
    stable = RevisionStatus(
        name=child, revision=revision, role=Role.STABLE.value, weight=100, replicas=1, ready_replicas=1
    )
    status = ModelDeploymentStatus(revisions=(stable,))
    refs = resource.spec.traffic.gateway.parent_refs or settings.gateway.parent_refs
    pods = frozenset({"pod"})
    return Snapshot(
        now=datetime.now(UTC),
        resource=ModelDeployment(resource.metadata, resource.spec, status),
        settings=settings,
        target=Target(intent.model, intent),
        revisions={revision: Revision(revision, 1, intent.display, intent.model.version, intent.model.source)},
        deployments={revision: DeploymentFacts(revision, 0, 0, 0, replicas_ours=True)},
        pods={revision: (PodFacts("pod", revision, ready=True, deleting=False),)},
        endpoints={child: pods, name: pods},
        gateways=tuple(
            GatewayFacts(ref.namespace or resource.metadata.namespace, ref.name, exists=True) for ref in refs
        ),
    )


def _answer(text: str) -> tuple[str, str]:
    uri, separator, version = text.rpartition("=")
    if not separator or not uri or not version:
        raise CannotRender(f"--resolve {text!r}: write URI=VERSION, such as models:/recommendation-engine@champion=3")
    return uri, version
