"""`sluicegate render`: the children of a ModelDeployment as YAML.

The command needs no cluster and no registry.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import yaml

from sluicegate.api.resource import InvalidResource, ModelDeployment, decode
from sluicegate.cli.output.terminal import data_output
from sluicegate.cli.settings import read
from sluicegate.cli.validation import gateway_api
from sluicegate.cli.validation.documents import Unreadable
from sluicegate.cli.validation.documents import read as read_documents
from sluicegate.cli.validation.field_problems import MissingExtra, is_ours, validate
from sluicegate.cli.validation.rules import CHECKS
from sluicegate.config.settings import InvalidSettings, Settings, build
from sluicegate.core.decide.decision import decide
from sluicegate.core.models.resolution import ResolvedModel, resolve_locally
from sluicegate.core.models.uri import InvalidModelUri, LoggedModel, RegistryVersion, RunArtifact, parse
from sluicegate.core.rollout.canary import canary_view
from sluicegate.core.snapshot.assessment import assess
from sluicegate.core.snapshot.revision_spec import fetched_from, intent_of
from sluicegate.render import children
from sluicegate.render.pod import InvalidSpec, pod_template
from sluicegate.simulation.serving import serving_snapshot

Manifest = dict[str, Any]


STAND_IN = ("stand-in", {"registries": {"default": {"trackingUri": "http://registry.invalid"}}})
"""Settings where the user gives none. Pods are rendered with a registry URL that is visibly a placeholder."""


class CannotRender(ValueError):
    """A ModelDeployment cannot be rendered. The text is the message for the user."""


def run(files: list[str], resolutions: list[str], config: str | None) -> int:
    """Print the children of every ModelDeployment in `files`.

    Args:
        files: The files to read.
        resolutions: The values of `--resolve`, each URI=VERSION.
        config: The settings file, or None for stand-in settings.

    Returns:
        The exit code: 1 where a ModelDeployment cannot be rendered.
    """
    try:
        settings = build([(config, read(config))] if config else [STAND_IN])
        versions = dict(parse_resolution(text) for text in resolutions)
        documents = [document for file in files for document in read_documents(file) if is_ours(document)]
        if problems := validate(documents, CHECKS):
            raise CannotRender("\n".join(str(problem) for problem in problems))
        manifests = [manifest for document in documents for manifest in render(document, settings, versions)]
        if refused := [text for manifest in manifests for text in _refusals(manifest)]:
            raise CannotRender("\n".join(refused))
    except (CannotRender, InvalidSettings, InvalidResource, MissingExtra, InvalidSpec, Unreadable) as error:
        print(f"sluicegate render: {error}", file=sys.stderr)
        return 1
    yaml.safe_dump_all(manifests, data_output(), sort_keys=False, explicit_start=True)
    return 0


def _refusals(manifest: Manifest) -> Iterator[str]:
    """Yield what the API server would refuse about a child, by the CRD of its API.

    The core kinds are checked where they are rendered.
    """
    if manifest["kind"] == "HTTPRoute":
        metadata = manifest["metadata"]
        for problem in gateway_api.problems(manifest):
            yield f"HTTPRoute {metadata['namespace']}/{metadata['name']}: {problem.field}: {problem.message}"


def render(document: Manifest, settings: Settings, versions: dict[str, str]) -> Iterator[Manifest]:
    """Yield the children of one ModelDeployment as they will be once it serves.

    Args:
        document: The ModelDeployment.
        settings: The operator's settings.
        versions: Model version by model URI: what the registry would return.

    Raises:
        CannotRender: The model URI is invalid, or its version is not known.
        InvalidSpec: The spec does not give a valid pod template.
    """
    resource = decode(
        {
            "metadata": {"uid": "00000000-0000-0000-0000-000000000000", **document["metadata"]},
            "spec": document.get("spec"),
        }
    )
    intents, templates = [], {}
    for view in (resource, canary_view(resource)):
        if view is not None:
            resolved = resolve(view, versions)
            intent = intent_of(view, resolved, fetched_from(view, resolved, settings))
            if intent.hash not in templates:
                intents.append(intent)
                templates[intent.hash] = pod_template(view, intent, settings)
                yield children.record(view, intent, len(intents), templates[intent.hash], settings.children)
    plan = decide(assess(serving_snapshot(resource, intents, settings)))
    yield from children.render(resource, plan, templates, settings.children)


def resolve(resource: ModelDeployment, versions: dict[str, str]) -> ResolvedModel:
    """Resolve the model from its URI or from `versions`.

    Raises:
        CannotRender: The URI is invalid, or needs a registry and is not in `versions`.
    """
    uri = resource.spec.model.uri
    try:
        ref = parse(uri)
    except InvalidModelUri as error:
        raise CannotRender(f"spec.model.uri: {error}") from error
    local = resolve_locally(ref)
    if local is not None:
        return local
    version = str(ref.version) if isinstance(ref, RegistryVersion) else versions.get(uri)
    if version is None:
        raise CannotRender(f"the version of {uri} is not known: set it with --resolve '{uri}=VERSION'")
    name = None if isinstance(ref, LoggedModel | RunArtifact) else ref.name  # type: ignore[union-attr]
    return ResolvedModel(uri=uri, source=f"mlflow-artifacts:/{name or 'model'}/{version}", name=name, version=version)


def parse_resolution(text: str) -> tuple[str, str]:
    """Return the URI and the version of one `--resolve`.

    Raises:
        CannotRender: The text is not URI=VERSION.
    """
    uri, separator, version = text.rpartition("=")
    if not separator or not uri or not version:
        raise CannotRender(f"--resolve {text!r}: use URI=VERSION, such as models:/recommendation-engine@champion=3")
    return uri, version
