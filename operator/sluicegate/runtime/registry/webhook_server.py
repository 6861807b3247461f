"""The HTTP server for the webhooks of MLflow registries: POST /webhooks/REGISTRY.

It listens on its own port, and only if a registry has a webhook secret.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol, Self

from aiohttp import web

from sluicegate.core.models.resolution import ResolutionError
from sluicegate.core.models.webhook_delivery import LARGEST, Delivery, Outcome, authentic, subject, timely
from sluicegate.kube.rate_limit import TokenBucket
from sluicegate.runtime.http_server import HttpServer
from sluicegate.runtime.registry.registries import RegistryRef
from sluicegate.runtime.registry.replay_cache import ReplayCache

logger = logging.getLogger(__name__)

RATE = 20.0
"""Genuine deliveries a second that a registry may send on average. Forgeries do not count, because anyone can send
them."""
BURST = 100.0
"""Genuine deliveries that a registry may send at once."""
BODY_SECONDS = 10.0
"""Seconds within which a body must arrive."""
SECRET_SECONDS = 5.0
"""Seconds for which a Secret is cached."""
RECHECK_SECONDS = 1.0
"""Seconds for which a Secret is cached after a bad signature, because the secret may have been rotated just now."""
_RETRY = {"Retry-After": "1"}
_RESPONSES: Mapping[Outcome, tuple[int, str]] = {
    Outcome.ACCEPTED: (202, "The operator polls the registry now."),
    Outcome.NOT_FOLLOWED: (200, "No ModelDeployment follows this model."),
    Outcome.IRRELEVANT: (200, "This event changes no alias, stage or version."),
    Outcome.BAD_SIGNATURE: (401, "The signature does not match this registry's webhook secret."),
    Outcome.EXPIRED: (401, "The timestamp differs from the operator's clock by more than five minutes."),
    Outcome.REPLAYED: (409, "This delivery was accepted before."),
    Outcome.MALFORMED: (400, "The body is not an event of MLflow's model registry."),
    Outcome.TOO_SLOW: (408, f"The body did not arrive within {BODY_SECONDS:.0f} seconds."),
    Outcome.TOO_LARGE: (413, f"The body has more than {LARGEST} bytes."),
    Outcome.TOO_MANY: (429, "Too many deliveries. The operator polls the registry in any case."),
    Outcome.STANDBY: (503, "This replica is a standby. Another one leads."),
    Outcome.NO_SECRET: (503, "The operator cannot read this registry's webhook secret. The cause is in its log."),
}
"""HTTP status and text of a response. MLflow retries a delivery a few times after 429 or 5xx."""


class Sources(Protocol):
    """The registries that send webhooks, see `Registries`."""

    def with_webhooks(self) -> Mapping[str, RegistryRef]:
        """Return the registries that may send webhooks, by name."""

    async def webhook_secrets(self, name: str) -> tuple[bytes, ...]:
        """Return the secrets that a registry signs its webhooks with.

        Raises:
            ResolutionError: The secrets cannot be read.
        """


class Webhooks:
    """Receives deliveries, and requests a poll of the model that each one is about."""

    def __init__(
        self,
        sources: Sources,
        poll_soon: Callable[[RegistryRef, str], bool],
        leads: Callable[[], bool],
        count: Callable[[str, str], None],
    ) -> None:
        """Create the receiver.

        Args:
            sources: The registries.
            poll_soon: Polls a model of a registry soon. Returns False if no resource follows it.
            leads: Tells whether this replica is the leader.
            count: Called with the registry's name and the outcome of each delivery.
        """
        self._sources = sources
        self._poll_soon = poll_soon
        self._leads = leads
        self._count = count
        self._buckets: dict[str, TokenBucket] = {}
        self._accepted: dict[str, ReplayCache] = {}
        self._secrets: dict[str, tuple[float, tuple[bytes, ...]]] = {}
        self._problems: dict[str, str] = {}
        """Why the secrets of a registry could not be read at the last attempt."""

    @property
    def enabled(self) -> bool:
        """Whether any registry may send webhooks."""
        return bool(self._sources.with_webhooks())

    async def receive(self, name: str, request: web.Request) -> Outcome:
        """Process one delivery.

        Args:
            name: The name of a registry that may send webhooks.
            request: The delivery.

        Returns:
            The outcome.
        """
        if not self._leads():
            return Outcome.STANDBY
        if (request.content_length or 0) > LARGEST:
            return Outcome.TOO_LARGE
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return Outcome.TOO_LARGE
        except TimeoutError:
            return Outcome.TOO_SLOW
        header = request.headers.get
        delivery = Delivery(
            header("X-MLflow-Delivery-Id", ""), header("X-MLflow-Timestamp", ""), header("X-MLflow-Signature", ""), body
        )
        try:
            if not authentic(delivery, await self._secrets_of(name, SECRET_SECONDS)):
                await self._secrets_of(name, RECHECK_SECONDS)
            return self._check(name, delivery, await self._secrets_of(name, SECRET_SECONDS))
        except ResolutionError as error:
            self._log_once(name, error.failure.message)
            return Outcome.NO_SECRET

    def _log_once(self, name: str, problem: str) -> None:
        """Log why the secret of a registry cannot be read, unless the last failure had the same cause."""
        if self._problems.get(name) != problem:
            self._problems[name] = problem
            logger.warning("registry %s: webhooks are refused: %s", name, problem)

    def _check(self, name: str, delivery: Delivery, secrets: tuple[bytes, ...]) -> Outcome:
        now = time.time()
        if not authentic(delivery, secrets):
            return Outcome.BAD_SIGNATURE
        if not timely(delivery, now):
            return Outcome.EXPIRED
        if not self._buckets.setdefault(name, TokenBucket(RATE, BURST)).take(time.monotonic()):
            return Outcome.TOO_MANY
        if not self._accepted.setdefault(name, ReplayCache()).add(delivery, now):
            return Outcome.REPLAYED
        outcome, model = subject(delivery.body)
        if outcome is Outcome.ACCEPTED and not self._poll_soon(self._sources.with_webhooks()[name], model):
            return Outcome.NOT_FOLLOWED
        return outcome

    async def _secrets_of(self, name: str, longest: float) -> tuple[bytes, ...]:
        """Return the secrets of a registry, read at most `longest` seconds ago."""
        now = time.monotonic()
        read, secrets = self._secrets.get(name, (-SECRET_SECONDS, ()))
        if now - read >= longest:
            secrets = await self._sources.webhook_secrets(name)
            self._secrets[name] = (now, secrets)
            self._problems.pop(name, None)
        return secrets

    async def handle(self, request: web.Request) -> web.Response:
        """Respond to one request."""
        name = request.match_info["registry"]
        if name not in self._sources.with_webhooks():
            return web.Response(status=404, text=f"The settings have no registry {name!r} with a webhookSecret.\n")
        outcome = await self.receive(name, request)
        self._count(name, outcome.value)
        status, text = _RESPONSES[outcome]
        response = web.Response(status=status, text=f"{text}\n", headers=_RETRY if status in (429, 503) else None)
        if outcome in (Outcome.STANDBY, Outcome.TOO_SLOW, Outcome.TOO_LARGE):
            # A standby would get MLflow's next attempt on the same connection. The other two did not read the body.
            response.force_close()
        return response


class WebhookServer(HttpServer):
    """Listens if a registry may send webhooks."""

    def __init__(self, webhooks: Webhooks, port: int, host: str | None = None) -> None:
        """Create a server, which listens once its context is entered; `webhooks` receives the deliveries."""
        self._enabled = webhooks.enabled
        app = web.Application(client_max_size=LARGEST)
        app.router.add_post("/webhooks/{registry}", webhooks.handle)
        super().__init__(app, port, host)

    async def __aenter__(self) -> Self:
        """Start listening, if a registry may send webhooks."""
        return await super().__aenter__() if self._enabled else self
