"""List, create, change and test the webhooks of an MLflow registry.

They are MLflow REST `webhooks`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from sluicegate.adapters.mlflow import responses
from sluicegate.adapters.mlflow.http import endless
from sluicegate.adapters.mlflow.registry import MAX_LISTED, MAX_PAGES, MlflowRegistry
from sluicegate.core.models.webhook_subscription import EVENTS, Hook

_PAGE = "1000"


async def listed(registry: MlflowRegistry) -> list[Hook]:
    """Return all webhooks that the registry shows to this account.

    Raises:
        ResolutionError: The request failed. The message says why and what to do about it.
    """
    hooks: list[Hook] = []
    params = {"max_results": _PAGE}
    for _ in range(MAX_PAGES):
        page = await registry.ask("GET", "webhooks", responses.Webhooks, params=params)
        hooks += [_hook(webhook) for webhook in page.webhooks]
        if not page.next_page_token:
            return hooks
        if len(hooks) > MAX_LISTED:
            break
        params = {**params, "page_token": page.next_page_token}
    raise endless(registry.endpoint)


async def write(registry: MlflowRegistry, hook: Hook | None, name: str, url: str, secret: str) -> Hook:
    """Create a webhook, or change `hook` and its secret.

    Raises:
        ResolutionError: The request failed. The message says why and what to do about it.
    """
    events = [{"entity": entity, "action": action} for entity, action in sorted(EVENTS)]
    body: dict[str, Any] = {"name": name, "url": url, "events": events, "status": "ACTIVE", "secret": secret}
    if hook is None:
        response = await registry.ask("POST", "webhooks", responses.WebhookResponse, json=body)
    else:
        response = await registry.ask("PATCH", _path(hook), responses.WebhookResponse, json=body)
    return _hook(response.webhook)


async def tried(registry: MlflowRegistry, hook: Hook) -> responses.WebhookTest:
    """Return the result of a test delivery, which MLflow sends on request.

    Raises:
        ResolutionError: The request failed. The message says why and what to do about it.
    """
    return (await registry.ask("POST", f"{_path(hook)}/test", responses.WebhookTestResponse, json={})).result


def _path(hook: Hook) -> str:
    return f"webhooks/{quote(hook.id, safe='')}"


def _hook(webhook: responses.Webhook) -> Hook:
    events = frozenset((event.entity, event.action) for event in webhook.events)
    return Hook(webhook.webhook_id, webhook.name, webhook.url, events, webhook.status == "ACTIVE")
