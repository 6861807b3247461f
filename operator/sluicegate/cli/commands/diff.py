"""`sluicegate diff`: what applying ModelDeployments would change.

The command changes nothing. A dry run of the API server returns what the object would be.
The operator's own code decides what follows from that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate.api.resource import InvalidResource, ModelDeployment, decode
from sluicegate.api.status import ConditionType
from sluicegate.cli import cluster, operator_config
from sluicegate.cli.cluster import Failed
from sluicegate.cli.commands.render import CannotRender, parse_resolution
from sluicegate.cli.output import diff_text
from sluicegate.cli.output.diff_text import Comparison
from sluicegate.cli.validation.documents import Unreadable, files
from sluicegate.cli.validation.documents import read as read_documents
from sluicegate.cli.validation.dry_run import dry_run
from sluicegate.cli.validation.field_problems import is_ours, metadata_of, path_of
from sluicegate.config.settings import InvalidSettings, Settings
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.simulation.offline_operator import OfflineOperator, Prediction

Manifest = dict[str, Any]
ERROR = 2
"""Exit code for an error. It is above 1, as for `kubectl diff`."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the user gives besides the manifests."""

    namespace: str
    versions: Mapping[str, str]
    """Model version by model URI: what the registry would return."""
    config: str | None
    field_manager: str | None


def run(options: argparse.Namespace) -> int:
    """Print what would change.

    Returns:
        The exit code: 0 for no change, 1 for changes, 2 for an error.
    """
    try:
        versions = dict(parse_resolution(text) for text in options.resolve)
        documents = [document for file in files(options.files) for document in read_documents(file)]
        ours = [document for document in documents if is_ours(document)]
        if len(ours) < len(documents):
            skipped = len(documents) - len(ours)
            print(f"note: {skipped} objects are not ModelDeployments, so they are not compared", file=sys.stderr)
        inputs = Inputs(cluster.namespace(options), versions, options.config, options.field_manager)
        return cluster.run(options, lambda client: _compare_all(client, options, ours, inputs), failure=ERROR)
    except (Unreadable, CannotRender, InvalidSettings, InvalidResource) as error:
        print(f"{options.prog}: {error}", file=sys.stderr)
        return ERROR


async def _compare_all(
    client: KubeClient, options: argparse.Namespace, documents: list[Manifest], inputs: Inputs
) -> int:
    changed = False
    for document in documents:
        namespace = metadata_of(document).get("namespace")
        if options.namespace is not None and namespace not in (None, options.namespace):
            raise Failed(
                f"{path_of(document)}: metadata.namespace is {namespace}, but -n is {options.namespace}. "
                "Remove one of them."
            )
        manifest = _manifest(document, namespace or inputs.namespace)
        comparison, prediction, notes = await _compare(client, manifest, inputs)
        changed = changed or comparison.changed
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        for line in _lines(comparison, options.output):
            for revision in prediction.guessed:
                line = line.replace(revision, "(new)")
            sys.stdout.write(line)
    return int(changed)


async def _compare(client: KubeClient, manifest: Manifest, inputs: Inputs) -> tuple[Comparison, Prediction, list[str]]:
    """Compare one manifest with the cluster.

    Returns:
        The comparison, the prediction that it is made of, and notes on what was assumed.
    """
    key = (manifest["metadata"]["namespace"], manifest["metadata"]["name"])
    live = await client.get(MODEL_DEPLOYMENT, *key)
    if live is None:
        await cluster.require_crd(client, key[0])
    applied = await dry_run(client, manifest, live, inputs.field_manager)
    resource = decode(live) if live is not None else None
    settings, note = await _settings(client, resource, key, inputs.config)
    operator = OfflineOperator(client, settings, inputs.versions)
    desired = decode({**applied, "status": (live or {}).get("status")})
    if desired.too_large is not None:
        raise InvalidResource(f"{'/'.join(key)}: {desired.too_large}")
    prediction = await operator.predict(resource, desired)
    comparison = Comparison(
        live=live,
        applied=applied,
        snapshot=prediction.snapshot,
        before=prediction.before,
        after=prediction.after,
        inputs=prediction.inputs,
    )
    return comparison, prediction, [*note, *prediction.notes, *_not_ready(resource)]


async def _settings(
    client: KubeClient, resource: ModelDeployment | None, key: tuple[str, str], config: str | None
) -> tuple[Settings, list[str]]:
    """Return the operator's settings, and a note where they are assumed."""
    settings, unknown = await operator_config.settings(client, key[0], config)
    if settings is not None:
        return settings, []
    assumed = operator_config.assumed(resource, await client.get(kinds.HTTP_ROUTE, *key))
    return assumed, [f"{unknown}. diff assumes them from the live objects; set them with --config FILE"]


def _not_ready(resource: ModelDeployment | None) -> Iterator[str]:
    for condition in resource.status.conditions if resource is not None else ():
        if condition.type == ConditionType.READY and condition.status != "True":
            yield f"the ModelDeployment is not Ready now: {condition.reason}: {condition.message}"


def _lines(comparison: Comparison, output: str | None) -> list[str]:
    if output == "yaml":
        return list(diff_text.manifests(comparison))
    name = "/".join(comparison.snapshot.resource.key)
    if not comparison.changed:
        return [f"{name}: no change\n"]
    title = f"{name} is new:\n" if comparison.live is None else f"{name} would change:\n"
    return [title, *(f"  {line}\n" for line in diff_text.sentences(comparison))]


def _manifest(document: Manifest, namespace: str) -> Manifest:
    """Return what a user's document asks for.

    This leaves out status and the metadata that the API server fills in.
    """
    metadata = metadata_of(document)
    if not metadata.get("name"):
        raise Failed(f"{path_of(document)}: metadata.name is required")
    kept = {key: metadata[key] for key in ("name", "labels", "annotations") if key in metadata}
    return {**{k: v for k, v in document.items() if k != "status"}, "metadata": {**kept, "namespace": namespace}}
