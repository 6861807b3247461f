"""Tags the served model versions in the registries that ask for it.

See `core.models.served_tags`.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from sluicegate.adapters.mlflow.registry import MlflowRegistry
from sluicegate.api.resource import ModelDeployment
from sluicegate.config.settings import Settings
from sluicegate.core.models.following import concerns_registry
from sluicegate.core.models.resolution import ResolutionError
from sluicegate.core.models.served_tags import Change, changes, served, tag_key
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.supervise import contained, forever, resolved

logger = logging.getLogger(__name__)
INTERVAL = 60.0
MOST = 200
"""Maximum number of writes in a round. Further writes wait for the next round."""
MAX_FAILURES = 5
"""Number of failed writes that end a round."""


class ServedTagWriter:
    """Compares and writes tags once a minute.

    A failure is retried in the next round. It delays nothing else.
    """

    def __init__(self, context: PollContext, settings: Settings) -> None:
        """Create the write-back, which sends nothing before `run`.

        Args:
            context: What the parts that send requests to registries share.
            settings: The operator's settings, which say what registries get tags.
        """
        self._context = context
        self._key = tag_key(settings.cluster_name, settings.namespace)
        self._names = [name for name, registry in settings.registries.items() if registry.write_back]
        self._absent: dict[str, set[tuple[str, str]]] = {}
        self._refused: dict[str, set[tuple[str, str]]] = {}
        """Versions whose tag a registry refused. They are written last, so that they delay no other version."""
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Write tags until cancelled.

        Every registry has its own task, so a slow registry delays no other.
        """
        async with asyncio.TaskGroup() as group:  # No child raises, see `forever`.
            for name in self._names:
                group.create_task(self._rounds(name), name=f"write-back {name}")
            await asyncio.Event().wait()

    async def _rounds(self, name: str) -> None:
        await asyncio.sleep(INTERVAL)
        await forever(f"writing tags to registry {name}", INTERVAL, partial(self._try, name))

    async def _try(self, name: str) -> None:
        if self._context.stands_back():
            return
        try:
            await self.round(name)
        except ResolutionError as error:
            if name not in self._failing:
                logger.warning("registry %s: cannot tag the served versions: %s", name, error.failure.message)
            self._failing.add(name)
        else:
            self._failing.discard(name)

    async def round(self, name: str) -> None:
        """Compare and write the tags of one registry.

        Raises:
            ResolutionError: The registry cannot be reached, or refuses a tag.
        """
        context = self._context
        desired = served([resource for resource in context.resources.items() if self._is_of(resource, name)])
        endpoint = await context.registries.endpoint(context.registries.configured(name))
        async with context.pool.lease(endpoint) as client:
            current = await resolved(f"A request to {endpoint}", client.tagged(self._key))
            todo = changes(desired, current, self._absent.get(name, ()))
            self._absent[name] = set(current) - set(desired)
            await self._write(name, client, todo)

    async def _write(self, name: str, client: MlflowRegistry, todo: list[Change]) -> None:
        """Write tags. A version whose tag is refused delays no other version.

        Raises:
            ResolutionError: A tag was refused, or the registry cannot be reached.
        """
        refused = self._refused.setdefault(name, set())
        refused.intersection_update((change.model, change.version) for change in todo)
        failures: list[ResolutionError] = []
        for change in sorted(todo, key=lambda change: (change.model, change.version) in refused)[:MOST]:
            version = (change.model, change.version)
            try:
                writing = client.tag(change.model, change.version, self._key, change.value)
                await resolved(f"Tagging {change.model} version {change.version}", writing)
            except ResolutionError as error:
                refused.add(version)
                failures.append(error)
                if concerns_registry(error.failure) or len(failures) >= MAX_FAILURES:
                    break
            else:
                refused.discard(version)
        if failures:
            raise failures[0]

    def _is_of(self, resource: ModelDeployment, name: str) -> bool:
        with contained("the registry of {}/{}".format(*resource.key)):
            try:
                return self._context.registries.ref_of(resource).name == name
            except ResolutionError:
                return False
        return False
