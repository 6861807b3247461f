"""`sluicegate diff`: what applying ModelDeployments would change.

The command changes nothing. A dry run of the API server returns what the object would be.
The operator's own code decides what follows from that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.api import names
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import InvalidResource, ModelDeployment, decode
from sluicegate.api.status import ConditionType
from sluicegate.cli import cluster, operator_config
from sluicegate.cli.cluster import Failed
from sluicegate.cli.commands.render import CannotRender, answer
from sluicegate.cli.output import diff_text
from sluicegate.cli.validation.documents import Unreadable
from sluicegate.cli.validation.documents import read as read_documents
from sluicegate.cli.validation.findings import is_ours, path_of
from sluicegate.config.settings import InvalidSettings, Settings
from sluicegate.core.models.following import Followed
from sluicegate.core.models.resolution import ResolutionError, ResolvedModel
from sluicegate.core.models.uri import LoggedModel, RegistryVersion, RunArtifact, parse
from sluicegate.core.snapshot.revision_spec import registry_of
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden, Invalid, NotFound
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.runtime.reconcile.caches import Caches
from sluicegate.runtime.reconcile.gather import Gatherer, parent_refs
from sluicegate.runtime.registry.resolver import Registries, RegistryRef, Resolution, Resolver
from sluicegate.runtime.resources import Resources
from sluicegate.simulation.settle import settled

Manifest = dict[str, Any]
ERROR = 2
"""Exit code for an error. It is above 1, as for `kubectl diff`."""
_NOT_FROM_HERE = {
    Reason.REGISTRY_UNKNOWN,
    Reason.REGISTRY_UNREACHABLE,
    Reason.REGISTRY_UNAUTHORIZED,
    Reason.REGISTRY_FORBIDDEN,
    Reason.REGISTRY_HOST_REFUSED,
    Reason.REGISTRY_INVALID_ANSWER,
    Reason.REGISTRY_ERROR,
    Reason.SECRET_NOT_FOUND,
    Reason.SECRET_INVALID,
}
"""Reasons of a failed resolution that may apply on the user's machine and not to the operator."""


def run(options: argparse.Namespace) -> int:
    """Print what would change.

    Returns:
        The exit code: 0 for no change, 1 for changes, 2 for an error.
    """
    try:
        answers = dict(answer(each) for each in options.resolve)
        documents = [each for file in files(options.files) for each in read_documents(file)]
        ours = [each for each in documents if is_ours(each)]
        if len(ours) < len(documents):
            print(f"note: {len(documents) - len(ours)} objects are no ModelDeployments: not compared", file=sys.stderr)
        where = cluster.namespace(options)
        return cluster.run(options, lambda client: _all(client, options, ours, Given(where, answers)), failure=ERROR)
    except (Unreadable, CannotRender, InvalidSettings, InvalidResource) as error:
        print(f"{options.prog}: {error}", file=sys.stderr)
        return ERROR


def files(named: list[str]) -> list[str]:
    """Return the files, with each directory replaced by its YAML and JSON files.

    Raises:
        Unreadable: A directory has no such file.
    """
    found = []
    for each in named:
        inside = sorted(str(path) for path in Path(each).glob("*") if path.suffix in (".yaml", ".yml", ".json"))
        if each != "-" and Path(each).is_dir():
            if not inside:
                raise Unreadable(f"{each}: there is no .yaml, .yml or .json file in this directory")
            found += inside
        else:
            found.append(each)
    return found


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gives besides the files."""

    namespace: str
    answers: Mapping[str, str]
    """Model version by model URI: what the registry would return."""


async def _all(client: KubeClient, options: argparse.Namespace, documents: list[Manifest], given: Given) -> int:
    changed = False
    for document in documents:
        stated = (document.get("metadata") or {}).get("namespace")
        if options.namespace is not None and stated not in (None, options.namespace):
            raise Failed(
                f"{path_of(document)} is of another namespace than -n {options.namespace}: leave one of them out"
            )
        look = _Look(client, options.config, given.answers)
        found = await look.compare(_written(document, stated or given.namespace), options.field_manager)
        changed = changed or found.changed
        for note in look.notes:
            print(f"note: {note}", file=sys.stderr)
        for line in _shown(found, options.output):
            for revision in look.unnamed(found):
                line = line.replace(revision, "(new)")
            sys.stdout.write(line)
    return int(changed)


def _shown(found: diff_text.Comparison, output: str | None) -> list[str]:
    if output == "yaml":
        return list(diff_text.manifests(found))
    name = "/".join(found.snapshot.resource.key)
    if not found.changed:
        return [f"{name}: no change\n"]
    title = f"{name} is new:\n" if found.live is None else f"{name} would change:\n"
    return [title, *(f"  {line}\n" for line in diff_text.sentences(found))]


def _written(document: Manifest, namespace: str) -> Manifest:
    """Return what a user's document asks for.

    This leaves out status and the metadata that the API server fills in.
    """
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise Failed(f"{path_of(document)}: metadata.name is required")
    kept = {key: metadata[key] for key in ("name", "labels", "annotations") if key in metadata}
    return {**{k: v for k, v in document.items() if k != "status"}, "metadata": {**kept, "namespace": namespace}}


@dataclass(slots=True)
class _Look:
    """The reads of the cluster for one document, and the notes on what was assumed."""

    client: KubeClient
    config: str | None
    answers: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    guessed: set[ResolvedModel] = field(default_factory=set)

    async def compare(self, document: Manifest, manager: str | None) -> diff_text.Comparison:
        metadata = document["metadata"]
        key = (metadata["namespace"], metadata["name"])
        live = await self.client.get(MODEL_DEPLOYMENT, *key)
        if live is None:
            await cluster.require_crd(self.client, key[0])
        wanted = await self._dry_run(document, live, manager)
        resource = decode({**wanted, "status": (live or {}).get("status")})
        present = decode(live) if live is not None else None
        settings = await self._settings(present, key)
        refs = parent_refs(resource, settings)
        caches = Caches(self.client, key[0], 600.0, {ref.namespace for ref in refs if ref.namespace})
        if not await self._fill(caches):
            self._assume_gateways(caches, resource, settings)
        resources = Resources(lambda _: None)
        for raw in (await self.client.list(MODEL_DEPLOYMENT, key[0])).items:
            resources.offer(raw)
        records = caches.owned(kinds.CONTROLLER_REVISION, key)
        data = {record.revision: record.desired_part()["data"] for record in records if record.revision}
        async with contextlib.aclosing(RegistryPool()) as pool:
            usual = Resolver(Registries(self.client, settings), settings, pool, _Unseen())
            resolver = _Resolver(usual, settings, self, [each["model"] for each in data.values()])
            gatherer = Gatherer(caches, resources, resolver, settings)
            now = datetime.now(UTC)
            before = settled(await gatherer.gather(present, lambda: now)) if present is not None else None
            gathered = await gatherer.gather(resource, lambda: now)
        self._note_unfinished(present)
        return diff_text.Comparison(
            live=live,
            wanted=wanted,
            snapshot=gathered.snapshot,
            before=before,
            after=settled(gathered),
            inputs={revision: each.get("intent") or {} for revision, each in data.items()},
        )

    def unnamed(self, found: diff_text.Comparison) -> list[str]:
        """Return the new revisions whose hash the operator will compute differently.

        Their model is a guess here, while the operator resolves it at the registry.
        """
        intents = found.after.intents
        return [each for each, intent in intents.items() if intent.model in self.guessed and each not in found.inputs]

    async def _dry_run(self, document: Manifest, live: Manifest | None, manager: str | None) -> Manifest:
        """Return the object as the API server would store it.

        Where a client-side `kubectl apply` wrote the object, and the user names no field manager, the dry run sends the
        same merge patch. Otherwise it is a server-side apply.

        Raises:
            Failed: The API server would reject the object, or responds with NotFound.
        """
        path = "/".join((document["metadata"]["namespace"], document["metadata"]["name"]))
        applied = ((live or {}).get("metadata") or {}).get("annotations", {}).get(diff_text.LAST_APPLIED)
        try:
            if live is not None and applied and manager is None:
                annotated = {"annotations": {}, **document["metadata"]}  # kubectl's own annotation is always set
                patch = three_way(json.loads(applied), {**document, "metadata": annotated}, live)
                patch["metadata"] = {**(patch.get("metadata") or {}), **_identity(document)}
                return await self.client.dry_run(MODEL_DEPLOYMENT, patch, manager=None)
            return await self.client.dry_run(MODEL_DEPLOYMENT, document, manager=manager or applier_of(live or {}))
        except Invalid as error:
            raise Failed(f"{path} would be refused: {error.message}") from error
        except NotFound as error:
            raise Failed(f"{path}: {error.message}") from error

    async def _fill(self, caches: Caches) -> bool:
        """List the objects of all caches once.

        Gateways and GatewayClasses that the user may not read become notes.

        Returns:
            Whether the user may read Gateways.
        """
        answers = await asyncio.gather(*(each.fill() for each in caches.all), return_exceptions=True)
        readable = True
        for informer, outcome in zip(caches.all, answers, strict=True):
            if isinstance(outcome, Forbidden) and informer.kind in (kinds.GATEWAY, kinds.GATEWAY_CLASS):
                readable = readable and informer.kind is not kinds.GATEWAY
                self.notes.append(f"{informer.kind.kind}s are taken to be as the route needs them: {outcome.message}")
            elif isinstance(outcome, BaseException):
                raise outcome
        return readable

    async def _settings(self, present: ModelDeployment | None, key: tuple[str, str]) -> Settings:
        known, why = await operator_config.settings(self.client, key[0], self.config)
        if known is not None:
            return known
        self.notes.append(f"{why}; until then they are taken from what is there")
        return operator_config.assumed(present, await self.client.get(kinds.HTTP_ROUTE, *key))

    def _assume_gateways(self, caches: Caches, resource: ModelDeployment, settings: Settings) -> None:
        gateways = [each for each in caches.all if each.kind is kinds.GATEWAY]
        for ref in parent_refs(resource, settings):
            name = {"namespace": ref.namespace or resource.metadata.namespace, "name": ref.name}
            for informer in gateways:
                informer.put({"metadata": {**name, "uid": f"assumed-{ref.name}", "resourceVersion": "1"}})

    def _note_unfinished(self, present: ModelDeployment | None) -> None:
        conditions = present.status.conditions if present is not None else ()
        ready = next((each for each in conditions if each.type == ConditionType.READY.value), None)
        if ready is not None and ready.status != "True":
            self.notes.append(f"what is there is not Ready now: {ready.reason}: {ready.message}")


class _Unseen:
    """Views without any poll of a followed model.

    The version that status records therefore counts.
    """

    def last_result(self, registry: RegistryRef, model: str) -> None:
        """See `Views`."""

    def learn(self, registry: RegistryRef, ref: Followed, version: str) -> None:
        """See `Views`."""

    def missing(self, registry: RegistryRef, ref: RegistryVersion) -> bool:
        """See `Views`. No version counts as missing."""
        return False


class _Resolver:
    """Resolution as the operator does it, or without a registry.

    `--resolve` takes precedence over the registry. Where the registry cannot be reached from here, the version comes
    from the records of the revisions, or is guessed.
    """

    def __init__(self, usual: Resolver, settings: Settings, look: _Look, known: list[Manifest]) -> None:
        self._usual = usual
        self._default = settings.default_registry
        self._look = look
        self._records = known

    async def resolve(self, resource: ModelDeployment) -> Resolution:
        """See `Resolver.resolve`."""
        uri = resource.spec.model.uri
        if uri in self._look.answers:
            version = self._look.answers[uri]
            return Resolution(self._known(uri, version) or self._guess(uri, version))
        try:
            return await self._usual.resolve(resource)
        except ResolutionError as error:
            if error.failure.reason not in _NOT_FROM_HERE:
                raise
            registry = registry_of(resource.spec.model, self._default)
            ref = parse(uri)
            told = str(ref.version) if isinstance(ref, RegistryVersion) else None
            found = self._known(uri, told) if told is not None else None
            note = (
                f"{uri} is resolved in the cluster: registry {registry} cannot be asked from here "
                f"({error.failure.reason.value})"
            )
            hint = "" if told is not None else f"; say what it would answer with --resolve '{uri}=VERSION'"
            if found is None and note + hint not in self._look.notes:
                self._look.notes.append(note + hint)
            return Resolution(found or self._guess(uri, told))

    def _known(self, uri: str, version: str) -> ResolvedModel | None:
        """Return the model version as an existing revision records it."""
        for record in self._records:
            if (record.get("name"), record.get("version")) == (_name_of(uri), version):
                ids = (record.get("runId"), record.get("modelId"))
                return ResolvedModel(uri, record["source"], record["name"], version, *ids)
        return None

    def _guess(self, uri: str, version: str | None) -> ResolvedModel:
        name = _name_of(uri) or "model"
        source = f"mlflow-artifacts:/{name}/{version or 'unresolved'}"
        guess = ResolvedModel(uri, source, name, version or "to be resolved")
        self._look.guessed.add(guess)
        return guess


def _name_of(uri: str) -> str | None:
    ref = parse(uri)
    return None if isinstance(ref, LoggedModel | RunArtifact) else getattr(ref, "name", None)


def applier_of(live: Manifest) -> str:
    """Return the field manager that has applied the object so far.

    This is `kubectl` where it is one of several, and where no field manager has applied the object.
    """
    entries = (live.get("metadata") or {}).get("managedFields") or ()
    managers = [
        each["manager"]
        for each in entries
        if each.get("operation") == "Apply" and not each.get("subresource") and each["manager"] != names.MANAGER
    ]
    return "kubectl" if "kubectl" in managers or not managers else str(managers[0])


def three_way(original: Any, wanted: Manifest, live: Manifest) -> Manifest:
    """Return the merge patch that a client-side `kubectl apply` would send.

    Args:
        original: The manifest that was applied last, from kubectl's annotation.
        wanted: The manifest to apply. Its fields are set where they differ from the live object.
        live: The live object. Its fields that `original` has and `wanted` has not are removed.
    """
    patch: Manifest = {}
    for key, value in wanted.items():
        there = live.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            before = original.get(key) if isinstance(original, dict) else None
            inner = three_way(before if isinstance(before, dict) else {}, value, there)
            if inner:
                patch[key] = inner
        elif value != there:
            patch[key] = value
    if isinstance(original, dict):
        patch |= {key: None for key in original if key not in wanted and key in live and key != "status"}
    return patch


def _identity(document: Manifest) -> Manifest:
    return {key: document["metadata"][key] for key in ("name", "namespace")}
