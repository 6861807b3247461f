"""Validation of manifests against Kubernetes' own types.

A field that the API does not know is reported before the manifest is sent. The types are those of the official client,
generated from the API's OpenAPI document. The API server validates again (fieldValidation=Strict). This validation lets
`sluicegate validate` and `sluicegate render` report the same offline.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

_MODELS = {
    "PodTemplateSpec": "v1_pod_template_spec.V1PodTemplateSpec",
    "Deployment": "v1_deployment.V1Deployment",
    "Service": "v1_service.V1Service",
    "ControllerRevision": "v1_controller_revision.V1ControllerRevision",
    "HorizontalPodAutoscaler": "v2_horizontal_pod_autoscaler.V2HorizontalPodAutoscaler",
    "PodDisruptionBudget": "v1_pod_disruption_budget.V1PodDisruptionBudget",
}


@lru_cache(maxsize=16)
def _model(kind: str) -> Any:
    module, _, name = _MODELS[kind].partition(".")
    return getattr(importlib.import_module(f"kubernetes.aio.client.models.{module}"), name)


def problems(kind: str, manifest: dict[str, Any]) -> list[str]:
    """Return what is wrong with `manifest`, one sentence for each field.

    The list is empty for kinds that the client has no type for.
    """
    from pydantic import ValidationError

    if kind not in _MODELS:
        return []
    try:
        _model(kind).model_validate(manifest)
    except ValidationError as error:
        return [_sentence(entry) for entry in error.errors() if not _is_number_for_string(entry)]
    return []


def _is_number_for_string(entry: Any) -> bool:
    """Tell whether the error is a number for a quantity or an int-or-string.

    The client's types require a string. The API accepts both.
    """
    return bool(
        entry["type"] == "string_type"
        and isinstance(entry["input"], int | float)
        and not isinstance(entry["input"], bool)
    )


def _sentence(entry: Any) -> str:
    path = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        return f"{path}: unknown field"
    if entry["type"] == "missing":
        return f"{path}: is missing"
    return f"{path}: {entry['msg']}"
