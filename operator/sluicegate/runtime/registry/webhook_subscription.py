"""Maintains the operator's webhook subscription in each registry.

Only registries whose settings ask for it get one, see `core.models.webhook_subscription`. Only the leader
writes subscriptions. Nothing depends on them: a registry that refuses one is still polled, and the operator retries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from sluicegate.adapters.mlflow import webhooks
from sluicegate.adapters.mlflow.registry import MlflowRegistry
from sluicegate.api.reasons import Reason
from sluicegate.config.settings import Settings
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure
from sluicegate.core.models.webhook_subscription import Hook, hook_name, is_right, own_hooks
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.supervise import contained, forever

logger = logging.getLogger(__name__)
INTERVAL = 60.0


class WebhookSubscriptions:
    """Compares webhook subscriptions once a minute, and writes those that differ.

    A registry never returns the secret of a webhook, so the operator keeps the last written secret in memory. After a
    start, it writes the secret once.
    """

    def __init__(self, context: PollContext, settings: Settings, report: Callable[[str, bool], None]) -> None:
        """Create the subscriptions, which send nothing before `run`.

        Args:
            context: What the parts that send requests to registries share.
            settings: The operator's settings, which say what registries get a webhook.
            report: Called after each comparison with the registry's name and whether it has the webhook.
        """
        self._context = context
        self._report = report
        self._name = hook_name(settings.cluster_name, settings.namespace)
        configured = ((name, registry.register_webhook) for name, registry in settings.registries.items())
        self._urls = {name: webhook.url for name, webhook in configured if webhook is not None}
        self._written: dict[str, str] = {}
        """The secret that was last written to each registry."""
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Maintain the webhooks until cancelled.

        Every registry has its own task, so a slow registry delays no other.
        """
        async with asyncio.TaskGroup() as group:  # No child raises, see `forever`.
            for name in self._urls:
                work = forever(f"the webhook of registry {name}", INTERVAL, partial(self._try, name))
                group.create_task(work, name=f"webhook of {name}")
            await asyncio.Event().wait()

    async def _try(self, name: str) -> None:
        if self._context.stands_back():
            return
        done = False
        with contained(f"the webhook of registry {name}"):
            done = await self._attempt(name)
        if done:
            self._failing.discard(name)
        else:
            self._failing.add(name)
        self._report(name, done)

    async def _attempt(self, name: str) -> bool:
        """Compare and write the webhook of one registry.

        Returns:
            False if the registry failed. The failure is logged once.
        """
        try:
            await self.round(name)
        except ResolutionError as error:
            if name not in self._failing:
                message = (
                    "registry %s: cannot maintain the webhook subscription, so the registry is only polled: %s "
                    "Webhooks require MLflow 3.3 or later with a SQL store, and an account that may manage them."
                )
                logger.warning(message, name, error.failure.message)
            return False
        return True

    async def round(self, name: str) -> None:
        """Compare and write the webhook of one registry.

        Raises:
            ResolutionError: A Secret is missing or invalid, or the registry cannot be reached or refuses the request.
        """
        secret, url = await self._secret(name), self._urls[name]
        registries = self._context.registries
        async with self._context.pool.lease(await registries.endpoint(registries.configured(name))) as registry:
            hooks = own_hooks(await webhooks.listed(registry), self._name, url)
            is_current = self._written.get(name) == secret
            if is_current and hooks and all(is_right(hook, self._name, url) for hook in hooks):
                return
            self._warn_of_rivals(name, hooks, is_current)
            for hook in hooks or (None,):
                written = await webhooks.write(registry, hook, self._name, url, secret)
                action = "updated" if hook is not None else "created"
                logger.info("registry %s: %s the webhook subscription %s to %s", name, action, self._name, url)
            self._written[name] = secret
            await self._try_out(name, registry, written)

    def _warn_of_rivals(self, name: str, hooks: tuple[Hook, ...], is_current: bool) -> None:
        """Warn if another cluster with the same name changes the webhook.

        Two such clusters would overwrite the webhook in turn.
        """
        for hook in hooks if is_current else ():
            if hook.url != self._urls[name]:
                message = (
                    "registry %s: another client changed the URL of the webhook subscription %s to %s. "
                    "Give each cluster that uses the registry its own clusterName."
                )
                logger.warning(message, name, hook.name, hook.url)

    async def _secret(self, name: str) -> str:
        try:
            return (await self._context.registries.webhook_secrets(name))[0].decode()
        except UnicodeDecodeError:
            message = (
                f'The webhook secret of registry "{name}" is not UTF-8 text, which MLflow requires. '
                'Replace the key "secret" of its Secret.'
            )
            raise ResolutionError(ResolutionFailure(Reason.SECRET_INVALID, message)) from None

    async def _try_out(self, name: str, registry: MlflowRegistry, hook: Hook) -> None:
        """Send a test delivery, and log whether it arrived.

        MLflow does not report failed deliveries.
        """
        try:
            result = await webhooks.tried(registry, hook)
        except ResolutionError as error:
            logger.info("registry %s: cannot test the webhook subscription: %s", name, error.failure.message)
            return
        if result.success or result.response_status == 503:  # A standby responds with 503.
            logger.info("registry %s: the test delivery of the webhook subscription arrived", name)
            return
        problem = f"failed with {result.response_status}" if result.response_status else "did not arrive"
        logger.warning(
            "registry %s: the test delivery of the webhook subscription %s: "
            "check registerWebhook.url, see docs/guide/follow.md. %s",
            name,
            problem,
            result.error_message[:300],
        )
