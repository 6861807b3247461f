"""Who may read /metrics: clients that the API server authenticates and authorizes.

The rule is that of the metrics endpoints of Kubernetes' own components. A client sends the token of its ServiceAccount.
The API server reviews the token (TokenReview), and whether its user may get the non-resource URL /metrics
(SubjectAccessReview).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from sluicegate.kube.errors import KubeError
from sluicegate.kube.kinds import SUBJECT_ACCESS_REVIEW, TOKEN_REVIEW, Kind
from sluicegate.kube.rate_limit import TokenBucket

logger = logging.getLogger(__name__)

ALLOWED: Final = 200
UNAUTHENTICATED: Final = 401
FORBIDDEN: Final = 403
TOO_MANY: Final = 429
UNAVAILABLE: Final = 503

ALLOWED_SECONDS: Final = 60.0
"""Seconds for which a token that may read is not reviewed again."""
REFUSED_SECONDS: Final = 10.0
"""Seconds for which a token that may not read is not reviewed again."""
REVIEW_SECONDS: Final = 5.0
"""Time limit of the two reviews of a token."""
RATE: Final = 2.0
"""Reviews a second of tokens that were not allowed before, on average. Anyone can send such tokens."""
BURST: Final = 20.0
_MAX_TOKENS: Final = 256
_LONGEST: Final = 8192
"""Characters of a token. Those of ServiceAccounts have about 1,000."""


class Reviewer(Protocol):
    """Creates reviews, see `KubeClient`."""

    async def create(self, kind: Kind, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object, and return the response."""


class MetricsAccess:
    """Decides about requests for /metrics, and remembers the decisions for a short time."""

    def __init__(self, reviewer: Reviewer, clock: Callable[[], float]) -> None:
        """Remember no token yet.

        Args:
            reviewer: The API server.
            clock: Monotonic seconds.
        """
        self._reviewer = reviewer
        self._clock = clock
        self._decided: OrderedDict[bytes, tuple[float, int]] = OrderedDict()
        """When a decision ends, and the decision, by the digest of its token."""
        self._bucket = TokenBucket(RATE, BURST)

    async def check(self, authorization: str) -> int:
        """Return the HTTP status for a request: 200, 401, 403, 429 or 503.

        Args:
            authorization: The request's header. It is empty if the request has none.
        """
        scheme, _, token = authorization.partition(" ")
        if (
            scheme.lower() != "bearer"
            or not 0 < len(token) <= _LONGEST
            or not (token.isascii() and token.isprintable())
        ):
            return UNAUTHENTICATED
        key, now = hashlib.sha256(token.encode()).digest(), self._clock()
        until, status = self._decided.get(key, (0.0, UNAUTHENTICATED))
        if now < until:
            return status
        if status != ALLOWED and not self._bucket.take(now):
            return TOO_MANY
        try:
            async with asyncio.timeout(REVIEW_SECONDS):
                status = await self._review(token)
        except (KubeError, TimeoutError) as error:
            logger.warning("cannot check a request for /metrics: %s", error or "no response in time")
            return UNAVAILABLE
        self._remember(key, status)
        return status

    def _remember(self, key: bytes, status: int) -> None:
        seconds = ALLOWED_SECONDS if status == ALLOWED else REFUSED_SECONDS
        self._decided[key] = (self._clock() + seconds, status)
        if len(self._decided) > _MAX_TOKENS:
            refused = next((key for key, (_, status) in self._decided.items() if status != ALLOWED), None)
            del self._decided[refused if refused is not None else next(iter(self._decided))]

    async def _review(self, token: str) -> int:
        """Ask the API server about a token.

        Raises:
            KubeError: The API server does not respond, or the operator may not ask it.
        """
        review = await self._status(TOKEN_REVIEW, {"token": token})
        user = review.get("user") or {}
        if review.get("authenticated") is not True or not user.get("username"):
            return UNAUTHENTICATED
        spec = {
            "user": user["username"],
            "uid": user.get("uid") or "",
            "groups": user.get("groups") or [],
            "extra": user.get("extra") or {},
            "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
        }
        access = await self._status(SUBJECT_ACCESS_REVIEW, spec)
        return ALLOWED if access.get("allowed") is True and access.get("denied") is not True else FORBIDDEN

    async def _status(self, kind: Kind, spec: Mapping[str, Any]) -> dict[str, Any]:
        response = await self._reviewer.create(kind, {"metadata": {}, "spec": spec})
        return response.get("status") or {}
