"""`sluicegate get`: what ModelDeployments serve, and why they are not ready."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from sluicegate.api import names
from sluicegate.api.resource import InvalidResource, ModelDeployment, decode
from sluicegate.cli import cluster
from sluicegate.cli.output import detail_layout, detail_view, step_text, terminal
from sluicegate.cli.output.live_metrics import LiveMetrics, MetricsSource
from sluicegate.cli.output.rollout_view import DEFAULT_SHELL, Shell
from sluicegate.cli.output.text import BUSY, Line, Piece, Size, cropped, wrapped
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden, NotFound, Undecodable
from sluicegate.kube.kinds import EVENT, MODEL_DEPLOYMENT, POD, Kind
from sluicegate.kube.wire import Page

Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """What the command reads, and how it shows it."""

    name: str | None
    """Name of one ModelDeployment. None means all of them."""
    namespace: str | None
    """None means all namespaces."""
    wide: bool = False
    shell: Shell = DEFAULT_SHELL

    @property
    def kinds(self) -> dict[Kind, str]:
        """Return the kinds to read, each with its label selector."""
        if self.name is None:
            return {MODEL_DEPLOYMENT: ""}
        return {MODEL_DEPLOYMENT: "", POD: f"{names.LABEL_DEPLOYMENT}={self.name}", EVENT: ""}


@dataclass(frozen=True, slots=True)
class Picture:
    """What was read, without a clock: see `detail_view`."""

    scope: Scope
    rows: tuple[detail_view.Row, ...] = ()
    detail: detail_view.Detail | None = None
    notes: tuple[str, ...] = ()

    def lines(self, now: datetime, size: Size | None = None) -> Iterable[Line]:
        """Yield the lines of the view at the time `now`.

        Only the table is cropped to the width of the terminal. Messages about one resource are shown in full.
        """
        scope, width = self.scope, size.width if size is not None else None
        if self.detail is not None:
            yield from detail_layout.detail(self.detail, now, wide=scope.wide, size=size)
        elif self.rows:
            table = detail_layout.table(self.rows, now, namespaces=scope.namespace is None, wide=scope.wide)
            yield from cropped(table, width) if width is not None and not scope.wide else table
        else:
            where = f"namespace {scope.namespace}" if scope.namespace else "this cluster"
            yield [Piece(f"No ModelDeployments found in {where}.")]
        for note in self.notes:
            yield from wrapped([Piece(f"note: {note}", BUSY)], width, 6)


def picture(
    scope: Scope,
    objects: dict[Kind, list[Raw]],
    notes: tuple[str, ...] = (),
    live: LiveMetrics = detail_view.NOT_MEASURED,
) -> Picture | None:
    """Return the view of what was read.

    Returns:
        The view, or None where the ModelDeployment that the scope names does not exist any more.
    """
    resources = [resource for raw in objects[MODEL_DEPLOYMENT] if (resource := _decoded(raw)) is not None]
    if scope.name is None:
        resources.sort(key=lambda resource: resource.key)
        return Picture(scope, rows=tuple(detail_view.row(resource) for resource in resources), notes=notes)
    named = next((resource for resource in resources if resource.metadata.name == scope.name), None)
    if named is None:
        return None
    detail = detail_view.detail(named, objects.get(POD, ()), objects.get(EVENT, ()), live, scope.shell)
    return Picture(scope, detail=detail, notes=notes)


def measures(scope: Scope, objects: dict[Kind, list[Raw]]) -> bool:
    """Tell whether the operator may be measuring what the scope names.

    This is so while a rollout with steps is in progress.
    """
    if scope.name is None:
        return False
    named = (_decoded(raw) for raw in objects[MODEL_DEPLOYMENT] if raw["metadata"]["name"] == scope.name)
    rollouts = (step_text.rollout_of(resource) for resource in named if resource is not None)
    return any(rollout is not None and rollout.moving for rollout in rollouts)


def _decoded(raw: Raw) -> ModelDeployment | None:
    try:
        return decode(raw)
    except InvalidResource as error:
        metadata = raw["metadata"]
        print(f"{metadata['namespace']}/{metadata['name']} cannot be read: {error}", file=sys.stderr)
        return None


def run(options: argparse.Namespace) -> int:
    """Show the ModelDeployments once, or with `--watch` until the user interrupts."""
    if options.all_namespaces and options.name is not None:
        print(f"{options.prog}: NAME and -A cannot be combined: remove one of them", file=sys.stderr)
        return 1
    if options.watch and options.output not in (None, "wide"):
        print(
            f"{options.prog}: --watch and -o {options.output} cannot be combined: remove one of them", file=sys.stderr
        )
        return 1
    where = None if options.all_namespaces else cluster.namespace(options)
    shell = Shell(options.prog.rpartition(" ")[0], f" -n {options.namespace}" if options.namespace else "")
    scope = Scope(options.name, where, options.output == "wide", shell)
    if options.watch:
        from sluicegate.cli.commands.watch import Connection, follow

        connection = Connection()
        return cluster.run(options, lambda client: follow(client, scope, connection), observe=connection.noticed)

    async def once(client: KubeClient) -> int:
        if options.output in ("json", "yaml", "name"):
            _print(await _resources(client, scope), options.output, whole=scope.name is None)
            return 0
        objects, notes = await read(client, scope)
        live = detail_view.NOT_MEASURED
        if measures(scope, objects):
            live = await MetricsSource(client, str(where), str(scope.name)).read()
        shown = picture(scope, objects, notes, live)
        assert shown is not None
        terminal.show(shown.lines)
        return 0

    return cluster.run(options, once)


async def read(client: KubeClient, scope: Scope) -> tuple[dict[Kind, list[Raw]], tuple[str, ...]]:
    """Read the objects of the scope.

    Returns:
        The objects by kind, and notes. Where the user may not read a kind other than ModelDeployment, the kind is left
        out and a note says so.

    Raises:
        Failed: The ModelDeployment does not exist, or the cluster does not have the CRD.
    """
    objects: dict[Kind, list[Raw]] = {MODEL_DEPLOYMENT: await _resources(client, scope)}
    notes = []
    for kind, selector in scope.kinds.items():
        if kind is not MODEL_DEPLOYMENT:
            try:
                objects[kind] = (await client.list(kind, scope.namespace, selector)).items
            except Forbidden as error:
                notes.append(f"{kind.kind}s are not shown: {error.message}")
    return objects, tuple(notes)


async def _resources(client: KubeClient, scope: Scope) -> list[Raw]:
    if scope.name is None:
        try:
            page = await client.list(MODEL_DEPLOYMENT, scope.namespace)
        except NotFound as error:
            raise cluster.no_crd() from error
        return list(_readable(page))
    raw = await client.get(MODEL_DEPLOYMENT, scope.namespace, scope.name)
    if raw is None:
        await cluster.require_crd(client, scope.namespace)
        raise cluster.not_found(str(scope.namespace), scope.name)
    return [raw]


def _readable(page: Page) -> Iterator[Raw]:
    for item in page.read():
        if isinstance(item, Undecodable):
            print(item, file=sys.stderr)
        else:
            yield item


def _print(raws: list[Raw], output: str, whole: bool) -> None:
    """Print the objects for programs, in the formats of kubectl."""
    for raw in raws:
        raw["metadata"].pop("managedFields", None)
    named = [{"apiVersion": names.API_VERSION, "kind": names.KIND, **raw} for raw in raws]
    if output == "name":
        for raw in named:
            print(f"modeldeployment.{names.GROUP}/{raw['metadata']['name']}")
        return
    shown = {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": named} if whole else named[0]
    if output == "json":
        print(json.dumps(shown, indent=2, ensure_ascii=False), file=terminal.data_output())
    else:
        yaml.safe_dump(shown, terminal.data_output(), sort_keys=False, allow_unicode=True)
