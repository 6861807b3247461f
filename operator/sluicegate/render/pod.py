"""The pod template of a new revision.

It is rendered once and kept in the ControllerRevision. It is never rendered again for the same revision.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from sluicegate.api import duration, names
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment
from sluicegate.config.pod_settings import USER, FetchSettings, InstallSettings
from sluicegate.config.settings import RegistrySettings, RuntimeSettings, Settings
from sluicegate.core.models.uri import Baked, Volume, parse
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.snapshot.revision_spec import Intent
from sluicegate.render import engine, restrictions, schema
from sluicegate.render.gpu import InvalidGpu, Placement, placement
from sluicegate.render.inherited import inherited_annotations, inherited_labels
from sluicegate.render.overlay import overlay, without_nulls

BUILT_IN = ("mlflow", "mlserver", "custom")
"""Runtimes with a built-in template."""
DRAIN_SECONDS = 5
"""preStop sleep in seconds. It is the time in which gateways and kube-proxies remove a pod before the pod receives
SIGTERM."""
ACCEPT_SECONDS = 5
"""Seconds after SIGTERM for which the scoring server still accepts requests."""
FINISH_MARGIN = 2
"""Seconds that the scoring server has beyond the longest request."""
EXIT_MARGIN = 3
"""Seconds that the process has to exit before the kubelet kills it."""
REQUEST_TIMEOUT_VARIABLE = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"
"""MLflow's own variable. Where the user sets it, it has precedence over spec.traffic.timeout."""


class InvalidSpec(ValueError):
    """The spec produces no pod template. `problem` says why and names the field."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def pod_template(resource: ModelDeployment, intent: Intent, settings: Settings) -> dict[str, Any]:
    """Return the pod template for `intent`.

    Raises:
        InvalidSpec: The runtime is unknown or has no image, spec.gpu is not valid, or spec.podTemplate does not produce
            a valid pod.
    """
    context = _context(resource, intent, settings)
    try:
        container = _container(intent, settings, context)
        template = engine.render("pod.yaml.j2", {**context, "container": container})
    except engine.TemplateError as error:
        raise InvalidSpec(Problem(Reason.INVALID_RUNTIME, f"spec.runtime.name: {error}")) from error
    base = template
    if intent.pod_template is not None:
        template = overlay(template, intent.pod_template)
    _check(base, template, context["labels"])
    _check_restrictions(base, template, settings)
    return template


def _context(resource: ModelDeployment, intent: Intent, settings: Settings) -> dict[str, Any]:
    """Return the variables of templates.

    docs/guide/runtimes.md lists them for platform teams that write their own templates.
    """
    runtime = intent.runtime.name or "mlflow"
    ref = parse(intent.model.source)
    volume = {"claim": ref.claim, "path": ref.path.strip("/")} if isinstance(ref, Volume) else None
    fetched = not isinstance(ref, Volume | Baked)
    gpu = _gpu(intent, settings)
    timeout = duration.seconds(resource.spec.traffic.timeout)
    return {
        "labels": names.revision_labels(resource.metadata.name, intent.hash),
        "pod": _pod(resource, intent, settings, runtime, gpu),
        "image": _image(intent, settings, runtime),
        "pull_policy": settings.image_pull_policy,
        "args": list(intent.runtime.args) if intent.runtime.args else None,
        "env": _model_env(intent, settings, runtime),
        "resources": _resources(intent, gpu),
        "gpu": msgspec.to_builtins(gpu),
        "model_path": ref.path if isinstance(ref, Baked) else names.MODEL_PATH,
        "fetch": _fetch(resource, intent, settings) if fetched else None,
        "install": _install(intent, settings, runtime),
        "volume": volume,
        "drain_seconds": DRAIN_SECONDS,
        "timeout_seconds": _number(timeout),
        "grace_seconds": DRAIN_SECONDS + ACCEPT_SECONDS + math.ceil(timeout) + FINISH_MARGIN + EXIT_MARGIN,
        "server_limits": _server_limits(intent, timeout),
        "startup_seconds": max(1, int(duration.seconds(resource.spec.rollout.progress_deadline))),
    }


def _pod(
    resource: ModelDeployment, intent: Intent, settings: Settings, runtime: str, gpu: Placement | None
) -> dict[str, Any]:
    """Return what the platform team's settings add to the pod, with the parts that spec.gpu adds to them."""
    chosen = settings.pods
    of_gpu = gpu.tolerations if gpu is not None else ()
    tolerations = [*(each for each in chosen.tolerations if each not in of_gpu), *of_gpu]
    security = without_nulls(chosen.model_security_context)
    if runtime != "mlflow" or settings.runtimes.get(runtime, RuntimeSettings()).template is not None:
        security = {field: value for field, value in security.items() if field not in USER}
    return {
        "labels": {
            **chosen.labels,
            **inherited_labels(resource, settings.children),
            **names.revision_labels(resource.metadata.name, intent.hash),
        },
        "annotations": {**chosen.annotations, **inherited_annotations(resource, settings.children)},
        "security_context": without_nulls(chosen.security_context),
        "model_security_context": security,
        "image_pull_secrets": msgspec.to_builtins(chosen.image_pull_secrets),
        "priority_class_name": chosen.priority_class_name,
        "node_selector": {**chosen.node_selector, **(gpu.node_selector if gpu is not None else {})},
        "tolerations": msgspec.to_builtins(tolerations),
    }


def _server_limits(intent: Intent, timeout: float) -> list[str]:
    """Return the flags of the scoring server that follow spec.traffic.timeout.

    A request that a pod accepts before it stops is answered, so the server's own limits are never shorter than the
    gateway's.
    """
    limits = ["--drain", str(ACCEPT_SECONDS)]
    if any(variable.name == REQUEST_TIMEOUT_VARIABLE for variable in intent.runtime.env or ()):
        return limits
    grace = math.ceil(timeout) + FINISH_MARGIN
    return [*limits, "--timeout", str(_number(timeout)), "--grace", str(grace)]


def _number(seconds: float) -> int | float:
    return int(seconds) if seconds.is_integer() else round(seconds, 3)


def _gpu(intent: Intent, settings: Settings) -> Placement | None:
    try:
        return placement(intent.gpu, settings.gpu) if intent.gpu is not None else None
    except InvalidGpu as error:
        raise InvalidSpec(Problem(Reason.INVALID_GPU, str(error))) from error


def _resources(intent: Intent, gpu: Placement | None) -> dict[str, Any]:
    """Return the container's resources.

    A GPU is only a limit. The API server sets the request to the same value, so no overlay can omit it.
    """
    resources: dict[str, Any] = msgspec.to_builtins(intent.resources)
    return overlay(resources, {"limits": {gpu.resource: str(gpu.count)}}) if gpu is not None else resources


def _image(intent: Intent, settings: Settings, runtime: str) -> str:
    added = settings.runtimes.get(runtime, RuntimeSettings())
    default = settings.scorer_image if runtime == "mlflow" else None
    image = intent.runtime.image or added.image or default
    if added.template is None and runtime not in BUILT_IN:
        runtimes = ", ".join(sorted({*BUILT_IN, *settings.runtimes}))
        raise InvalidSpec(
            Problem(
                Reason.RUNTIME_UNKNOWN,
                f'spec.runtime.name: runtime "{runtime}" does not exist. Use one of: {runtimes}.',
            )
        )
    if image is None:
        raise InvalidSpec(
            Problem(
                Reason.IMAGE_MISSING,
                f'spec.runtime.image is missing, and the runtime "{runtime}" has no default image. Set the field.',
            )
        )
    return image


def _model_env(intent: Intent, settings: Settings, runtime: str) -> list[dict[str, str]]:
    """Return the environment variables of the scoring server about its model.

    The scoring server may show the model in metrics and logs. Other variables select how it checks dependencies and
    which environment it runs in.
    """
    own = runtime == "mlflow"
    variables = {
        "SLUICEGATE_MODEL_NAME": intent.model.name,
        "SLUICEGATE_MODEL_VERSION": intent.model.version,
        "SLUICEGATE_MODEL_RUN_ID": intent.model.run_id,
        "SLUICEGATE_DEPENDENCIES": settings.dependencies.check
        if own and settings.dependencies.check != "missing"
        else None,
        "SLUICEGATE_ENVIRONMENT": names.ENVIRONMENT_LINK if own and _installs(intent) else None,
    }
    return [{"name": name, "value": value} for name, value in variables.items() if value]


def _fetch(resource: ModelDeployment, intent: Intent, settings: Settings) -> dict[str, Any]:
    inline = resource.spec.model.inline_registry
    configured = settings.registries.get(intent.registry or "")
    registry = RegistrySettings(tracking_uri=inline.tracking_uri) if inline is not None else configured
    env = {"MLFLOW_TRACKING_URI": registry.tracking_uri, **registry.env} if registry is not None else {}
    if registry is not None and registry.credential_hosts:
        env = {"SLUICEGATE_CREDENTIAL_HOSTS": ",".join(registry.credential_hosts), **env}
    return {
        "image": settings.scorer_image,
        "source": intent.model.source,
        "env": [{"name": name, "value": value} for name, value in sorted(env.items())],
        "secret": intent.registry_secret or (registry.pod_secret if registry is not None else None),
        "size_limit": settings.model_size_limit,
        **_helper(settings.pods.fetch),
    }


def _installs(intent: Intent) -> bool:
    return intent.runtime.dependencies == "Install"


def _install(intent: Intent, settings: Settings, runtime: str) -> dict[str, Any] | None:
    """Return the context of the container that installs the model's dependencies.

    The container uses the image of the scoring container, because it installs for the Python of that container.
    """
    if not _installs(intent):
        return None
    if runtime != "mlflow":
        raise InvalidSpec(
            Problem(
                Reason.INVALID_RUNTIME,
                "spec.runtime.dependencies: Install requires the runtime mlflow. Remove the field, "
                f'and install the packages into the image of the runtime "{runtime}".',
            )
        )
    chosen = settings.dependencies
    index = {"UV_DEFAULT_INDEX": chosen.index_url, "UV_INDEX": " ".join(chosen.extra_index_urls)}
    env = {**{name: value for name, value in index.items() if value}, **chosen.env}
    return {
        "path": names.ENVIRONMENTS_PATH,
        "link": names.ENVIRONMENT_LINK,
        "timeout": str(chosen.timeout),
        "env": [{"name": name, "value": value} for name, value in sorted(env.items())],
        "secret": chosen.pod_secret,
        "claim": chosen.cache_claim,
        "size_limit": chosen.size_limit,
        **_helper(settings.pods.install),
    }


def _helper(chosen: FetchSettings | InstallSettings) -> dict[str, Any]:
    return {
        "resources": without_nulls(chosen.resources),
        "security_context": without_nulls(chosen.security_context),
    }


def _container(intent: Intent, settings: Settings, context: dict[str, Any]) -> dict[str, Any]:
    """Return the scoring container.

    The runtime's own template overlays the part that all runtimes share. The user's variables overlay both.
    """
    runtime = intent.runtime.name or "mlflow"
    added = settings.runtimes.get(runtime, RuntimeSettings())
    common = engine.render("container.yaml.j2", context)
    if added.template is not None:
        own = engine.render_text(f"of runtime {runtime}", added.template, context)
    else:
        own = engine.render(f"runtimes/{runtime}.yaml.j2", context)
    container: dict[str, Any] = overlay(common, own)
    variables = [msgspec.to_builtins(variable) for variable in intent.runtime.env or ()]
    merged: dict[str, Any] = overlay(container, {"name": names.MODEL_CONTAINER, "env": variables})
    return merged


def _check(base: dict[str, Any], template: dict[str, Any], labels: dict[str, str]) -> None:
    wrong = schema.problems("PodTemplateSpec", template)
    if wrong and (of_platform := [problem for problem in schema.problems("PodTemplateSpec", base) if problem in wrong]):
        message = (
            f"the operator's settings do not produce a valid pod: {'; '.join(of_platform)}. Correct `pods` or the "
            "runtime's template in the settings. kubectl explain pod.spec lists the valid fields."
        )
        raise InvalidSpec(Problem(Reason.INVALID_POD_TEMPLATE, message))
    if wrong:
        problems = "; ".join(wrong)
        message = (
            f"spec.podTemplate does not produce a valid pod: {problems}. "
            "Correct or remove these fields. kubectl explain pod.spec lists the valid ones."
        )
        raise InvalidSpec(Problem(Reason.INVALID_POD_TEMPLATE, message))
    present = (template.get("metadata") or {}).get("labels") or {}
    if any(present.get(label) != value for label, value in labels.items()):
        raise InvalidSpec(
            Problem(
                Reason.INVALID_POD_TEMPLATE,
                f"spec.podTemplate.metadata.labels must not change {', '.join(labels)}, by which Services select pods.",
            )
        )
    if not any(
        container.get("name") == names.MODEL_CONTAINER
        for container in (template.get("spec") or {}).get("containers") or ()
    ):
        raise InvalidSpec(
            Problem(
                Reason.INVALID_POD_TEMPLATE,
                f'spec.podTemplate must not remove the container "{names.MODEL_CONTAINER}".',
            )
        )


def _check_restrictions(base: dict[str, Any], template: dict[str, Any], settings: Settings) -> None:
    paths = restrictions.violations(base, template, settings.tenants.pod_template_restrictions)
    if paths:
        message = (
            f"the platform does not allow {', '.join(paths)} (setting tenants.podTemplateRestrictions). "
            "Remove these fields, or ask the platform team."
        )
        raise InvalidSpec(Problem(Reason.INVALID_POD_TEMPLATE, message))
