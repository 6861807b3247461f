"""`sluicegate rollback` and `sluicegate unpin`: set and remove the pin.

The pin holds a revision that served before. Both commands write only the annotation `pin`.
They do not change the spec, so a GitOps tool has nothing to revert.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sluicegate.api import duration, names
from sluicegate.api.status import ConditionType, Phase, Role
from sluicegate.cli import cluster
from sluicegate.cli.cluster import Failed
from sluicegate.cli.output.text import span
from sluicegate.cli.steering.apply import Annotations, Named, annotate
from sluicegate.cli.steering.fetch import fetch_history
from sluicegate.cli.steering.revisions import History, NoSuchRevision, RevisionSummary, find, previous
from sluicegate.core.snapshot import parse
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden, KubeError, Unreachable
from sluicegate.kube.kinds import POD

INTERVAL = 1.0
HEARTBEAT = 10.0
"""Seconds after which `--wait` repeats its progress, even if nothing changed."""
SLACK = 60.0
"""Seconds that `--wait` waits beyond progressDeadline, because traffic moves only once the pods are ready."""


def rollback(options: argparse.Namespace) -> int:
    """Pin a revision, and with `--wait` follow the rollback until it serves."""
    where = cluster.namespace(options)
    try:
        limit = duration.seconds(options.timeout) if options.timeout is not None else None
    except ValueError as error:
        print(f"{options.prog}: --timeout: {error}", file=sys.stderr)
        return 1

    async def work(client: KubeClient) -> int:
        decided: list[tuple[History, RevisionSummary]] = []

        def patch(history: History) -> Annotations:
            chosen = choose(history, options.revision)
            decided[:] = [(history, chosen)]
            return {} if chosen.pinned else {names.ANNOTATION_PIN: chosen.hash}

        await annotate(client, Named(where, options.name), patch)
        history, chosen = decided[0]
        running = chosen.ready or chosen.role == Role.STABLE
        for line in pinned_lines(history, chosen, None if running else await _start_seconds(client, history)):
            print(line)
        if not options.wait:
            return 0
        sys.stdout.flush()
        deadline = duration.seconds(history.resource.spec.rollout.progress_deadline) + SLACK
        return await _follow(client, where, chosen, limit if limit is not None else deadline)

    return cluster.run(options, work)


def unpin(options: argparse.Namespace) -> int:
    """Remove the pin, whichever revision it names."""
    where = cluster.namespace(options)

    async def work(client: KubeClient) -> int:
        read: list[History] = []

        def patch(history: History) -> Annotations:
            read[:] = [history]
            return {names.ANNOTATION_PIN: None} if history.pin is not None else {}

        await annotate(client, Named(where, options.name), patch)
        for line in unpinned_lines(read[0]):
            print(line)
        return 0

    return cluster.run(options, work)


def choose(history: History, text: str | None) -> RevisionSummary:
    """Return the revision to pin.

    Raises:
        Failed: There is no such revision, or it serves already. The message names the fix.
    """
    try:
        chosen = find(history, text) if text is not None else previous(history)
    except NoSuchRevision as error:
        raise Failed(str(error)) from error
    if history.serves_alone(chosen) and not chosen.pinned:
        raise Failed(
            f"{chosen.title} is stable already, so there is nothing to roll back. To pin it: "
            f"kubectl -n {history.resource.metadata.namespace} annotate mdep {history.name} "
            f"{names.ANNOTATION_PIN}={chosen.hash}"
        )
    return chosen


def pinned_lines(history: History, chosen: RevisionSummary, start_seconds: int | None) -> Iterator[str]:
    """Yield what the rollback does, how long it takes, and how to undo it."""
    metadata, stable = history.resource.metadata, history.stable
    resource = f"{metadata.namespace}/{metadata.name}"
    if chosen.pinned:
        yield f"{resource}: {chosen.title} is pinned already: nothing was changed."
    else:
        replaced = f", to replace {stable.title}" if stable is not None and stable is not chosen else ""
        yield f"{resource}: pinned to {chosen.title}{replaced}."
    if not (chosen.pinned and history.serves_alone(chosen)):
        yield _duration(history, chosen, start_seconds)
    yield f"The pin overrides the spec and followed aliases. To remove it: sluicegate unpin {history.cli_args}"


def _duration(history: History, chosen: RevisionSummary, start_seconds: int | None) -> str:
    stable, deadline = history.stable, history.resource.spec.rollout.progress_deadline
    if stable is chosen:
        candidates = [
            summary.name
            for summary in history.revisions
            if summary.role in (Role.CANDIDATE, Role.CANARY, Role.NEXT_CANARY) and summary is not chosen
        ]
        verb = "get" if len(candidates) > 1 else "gets"
        return f"It stays stable{f', and {_joined(candidates)} {verb} no traffic' if candidates else ''}."
    meanwhile = f"{stable.name} serves until then" if stable is not None else "No revision serves until then"
    if chosen.ready:
        return f"{chosen.ready} of its pods are ready, so this takes a few seconds. {meanwhile}."
    usual = f"This takes about {start_seconds}s if they start as fast as the current ones. " if start_seconds else ""
    return (
        f"Its pods start first. {usual}The rollback fails if they are not ready within {deadline} "
        f"(spec.rollout.progressDeadline). {meanwhile}."
    )


def _joined(items: list[str]) -> str:
    return " and ".join(items)


def unpinned_lines(history: History) -> Iterator[str]:
    """Yield what the removal of the pin does."""
    metadata, model = history.resource.metadata, history.resource.status.model
    resource = f"{metadata.namespace}/{metadata.name}"
    if history.pin is None:
        yield f"{resource} is not pinned: nothing was changed."
        return
    held = history.pinned.title if history.pinned is not None else f"{history.pin}, which does not exist"
    uri = history.resource.spec.model.uri
    version = f" ({model.name} version {model.version})" if model and model.name and model.version else ""
    yield f"{resource}: unpinned from {held}."
    command = f"sluicegate get {history.cli_args}"
    yield f"The model of the spec, {uri}{version}, serves once it is ready. To see it: {command}"


async def _start_seconds(client: KubeClient, history: History) -> int | None:
    """Return the seconds from creation to readiness of the slowest ready pod.

    Returns:
        The seconds, or None where the pods cannot be read or none is ready.
    """
    namespace, selector = history.resource.metadata.namespace, f"{names.LABEL_DEPLOYMENT}={history.name}"
    try:
        pods = (await client.list(POD, namespace, selector)).items
    except KubeError:
        return None
    return max((seconds for seconds in map(_seconds_to_ready, pods) if seconds is not None), default=None)


def _seconds_to_ready(pod: Mapping[str, Any]) -> int | None:
    conditions = {condition.get("type"): condition for condition in (pod.get("status") or {}).get("conditions") or ()}
    ready = conditions.get("Ready", {})
    created = parse.time_of(pod["metadata"].get("creationTimestamp"))
    since: datetime | None = parse.time_of(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None
    return max(1, int((since - created).total_seconds())) if since is not None and created is not None else None


async def _follow(client: KubeClient, namespace: str, chosen: RevisionSummary, seconds: float) -> int:
    """Print the progress until the revision receives all requests.

    Returns:
        The exit code 0.

    Raises:
        Failed: Another user changed the pin, the revision failed, or it does not serve within `seconds`.
    """
    begin, last, printed_at = time.monotonic(), "", 0.0
    print(f"Waiting for at most {span(seconds)}. To set another limit: --timeout DURATION.", flush=True)
    name = chosen.name.removesuffix(f"-{chosen.hash}")
    while True:
        try:
            history, _ = await fetch_history(client, namespace, name)
        except (Unreachable, Forbidden) as error:
            progress = cluster.explain(error)
        else:
            current = history.find(chosen.hash)
            if history.pin != chosen.hash:
                raise Failed(
                    f"another user changed the annotation {names.ANNOTATION_PIN} to {history.pin or '(absent)'}, so "
                    "this command stops waiting"
                )
            if current is not None and history.serves_alone(current):
                print(f"{current.title} is stable after {span(time.monotonic() - begin)}.")
                return 0
            progress = _progress(current)
            _raise_if_failed(history, chosen, progress)
        now = time.monotonic()
        if progress != last or now - printed_at >= HEARTBEAT:
            print(f"{span(now - begin)}: {progress}", flush=True)
            last, printed_at = progress, now
        if time.monotonic() - begin >= seconds:
            raise Failed(f"{chosen.title} is not stable after {span(seconds)}: {progress}")
        await asyncio.sleep(INTERVAL)


def _progress(current: RevisionSummary | None) -> str:
    """Return what the rollback waits for, as status reports it."""
    if current is None or current.role in (None, Role.PARKED):
        return "waiting for the operator to process the pin"
    if current.reason:
        return f"{current.reason}: {current.message}"
    if current.role != Role.STABLE:
        return f"{current.ready} of {current.desired} pods of {current.name} are ready"
    return f"traffic moves to {current.name}: {current.accepted or 0}% so far"


def _raise_if_failed(history: History, chosen: RevisionSummary, progress: str) -> None:
    """End the wait where the revision has failed.

    A failed revision does not serve until a user acts.

    Raises:
        Failed: The revision has failed.
    """
    rollout, conditions = history.resource.status.rollout, history.resource.status.conditions
    stalled = any(condition.type == ConditionType.STALLED and condition.status == "True" for condition in conditions)
    if stalled and rollout is not None and rollout.phase is Phase.FAILED and rollout.candidate == chosen.hash:
        stays = f". {history.stable.title} stays stable" if history.stable is not None else ""
        raise Failed(
            f"{chosen.title} did not become ready: {progress}{stays}. "
            f"To remove the pin: sluicegate unpin {history.cli_args}"
        )
