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
from sluicegate.cli.steering.revisions import Entry, History, NoSuchRevision, before, find
from sluicegate.core.snapshot import parse
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden, KubeError, Unreachable
from sluicegate.kube.kinds import POD

INTERVAL = 1.0
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
        done: list[tuple[History, Entry]] = []

        def patch(known: History) -> Annotations:
            chosen = choose(known, options.revision)
            done[:] = [(known, chosen)]
            return {} if chosen.pinned else {names.ANNOTATION_PIN: chosen.hash}

        await annotate(client, Named(where, options.name), patch)
        known, chosen = done[0]
        starts = None if chosen.ready or chosen.role == Role.STABLE else await _start_seconds(client, known)
        for line in told(known, chosen, starts):
            print(line)
        if not options.wait:
            return 0
        sys.stdout.flush()
        deadline = duration.seconds(known.resource.spec.rollout.progress_deadline) + SLACK
        return await _follow(client, where, chosen, limit if limit is not None else deadline)

    return cluster.run(options, work)


def unpin(options: argparse.Namespace) -> int:
    """Remove the pin, whichever revision it names."""
    where = cluster.namespace(options)

    async def work(client: KubeClient) -> int:
        found: list[History] = []

        def patch(known: History) -> Annotations:
            found[:] = [known]
            return {names.ANNOTATION_PIN: None} if known.pin is not None else {}

        await annotate(client, Named(where, options.name), patch)
        for line in released(found[0]):
            print(line)
        return 0

    return cluster.run(options, work)


def choose(known: History, word: str | None) -> Entry:
    """Return the revision to pin.

    Raises:
        Failed: There is no such revision, or it serves already. The message names the fix.
    """
    try:
        chosen = find(known, word) if word is not None else before(known)
    except NoSuchRevision as error:
        raise Failed(str(error)) from error
    if known.serves_alone(chosen) and not chosen.pinned:
        raise Failed(
            f"{chosen.title} serves already, so there is nothing to roll back; to hold it whatever the spec says: "
            f"kubectl -n {known.resource.metadata.namespace} annotate mdep {known.name} "
            f"{names.ANNOTATION_PIN}={chosen.hash}"
        )
    return chosen


def told(known: History, chosen: Entry, start_seconds: int | None) -> Iterator[str]:
    """Yield what the rollback does, how long it takes, and how to undo it."""
    metadata, stable = known.resource.metadata, known.stable
    what = f"{metadata.namespace}/{metadata.name}"
    if known.serves_alone(chosen):
        yield f"{what}: {chosen.title} serves, and is pinned already: nothing was changed."
    elif chosen.pinned:
        yield (
            f"{what}: {chosen.title} is pinned already: nothing was changed. {_duration(known, chosen, start_seconds)}"
        )
    else:
        instead = f" instead of {stable.title}" if stable is not None and stable is not chosen else ""
        yield f"{what}: pinned to {chosen.title}, which is to serve{instead}."
        yield _duration(known, chosen, start_seconds)
    yield f"It serves alone, whatever the spec or a followed alias says, until: sluicegate unpin {known.name}"


def _duration(known: History, chosen: Entry, start_seconds: int | None) -> str:
    stable, deadline = known.stable, known.resource.spec.rollout.progress_deadline
    others = [
        each.name for each in known.entries if each.role in ("Target", "Canary", "NextCanary") and each is not chosen
    ]
    if stable is chosen:
        held = f": {' and '.join(others)} {'get' if len(others) > 1 else 'gets'} no traffic" if others else ""
        return f"It goes on serving{held}."
    meanwhile = f"{stable.name} serves until then" if stable is not None else "nothing serves until then"
    if chosen.ready:
        return f"{chosen.ready} of its pods are ready, so it takes a few seconds; {meanwhile}."
    took = f"about {start_seconds}s, if they start as the ones that serve did, and" if start_seconds is not None else ""
    within = f"at most {deadline} (spec.rollout.progressDeadline) before it is called failed"
    return f"Its pods start first: {took} {within}; {meanwhile}.".replace(":  at", ": at")


def released(known: History) -> Iterator[str]:
    """Yield what the removal of the pin does."""
    metadata, model = known.resource.metadata, known.resource.status.model
    what = f"{metadata.namespace}/{metadata.name}"
    if known.pin is None:
        yield f"{what} is not pinned: nothing was changed."
        return
    held = known.pinned.title if known.pinned is not None else f"{known.pin}, which is not there"
    uri = known.resource.spec.model.uri
    known_as = f", which is {model.name} version {model.version}" if model and model.name and model.version else ""
    yield f"{what}: unpinned from {held}."
    yield f"What the spec says serves again, once it is ready: {uri}{known_as}. To see it: sluicegate get {known.name}"


async def _start_seconds(client: KubeClient, known: History) -> int | None:
    """Return the seconds from creation to readiness of the slowest ready pod.

    Returns:
        The seconds, or None where the pods cannot be read or none is ready.
    """
    namespace, selector = known.resource.metadata.namespace, f"{names.LABEL_DEPLOYMENT}={known.name}"
    try:
        pods = (await client.list(POD, namespace, selector)).items
    except KubeError:
        return None
    return max((each for each in map(_took, pods) if each is not None), default=None)


def _took(pod: Mapping[str, Any]) -> int | None:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = next((each for each in conditions if each.get("type") == "Ready" and each.get("status") == "True"), None)
    created = parse.time_of(pod["metadata"].get("creationTimestamp"))
    since: datetime | None = parse.time_of((ready or {}).get("lastTransitionTime"))
    return max(1, int((since - created).total_seconds())) if since is not None and created is not None else None


async def _follow(client: KubeClient, namespace: str, chosen: Entry, seconds: float) -> int:
    """Print the progress until the revision receives all requests.

    Returns:
        The exit code 0.

    Raises:
        Failed: Another user changed the pin, the revision failed, or it does not serve within `seconds`.
    """
    begin, last = time.monotonic(), ""
    name = chosen.name.removesuffix(f"-{chosen.hash}")
    while True:
        try:
            known, _ = await fetch_history(client, namespace, name)
        except (Unreachable, Forbidden) as error:
            sentence = cluster.explain(error)
        else:
            now = next((each for each in known.entries if each.hash == chosen.hash), None)
            if known.pin != chosen.hash:
                held = known.pin or "none"
                raise Failed(f"somebody else has changed the pin to {held}, so this is not waited for any more")
            if now is not None and known.serves_alone(now):
                print(f"{now.title} serves, after {span(time.monotonic() - begin)}.")
                return 0
            sentence = _progress(known, now)
            _raise_if_failed(known, chosen, sentence)
        if sentence != last:
            print(f"{span(time.monotonic() - begin)}: {sentence}", flush=True)
            last = sentence
        if time.monotonic() - begin >= seconds:
            raise Failed(f"{chosen.title} does not serve after {span(seconds)}: {sentence}")
        await asyncio.sleep(INTERVAL)


def _progress(known: History, now: Entry | None) -> str:
    """Return what the rollback waits for, as status reports it."""
    if now is None or now.role in (None, "Parked"):
        return "waiting for the operator to see the pin"
    if now.reason:
        return f"{now.reason}: {now.message}"
    if now.role != "Stable":
        return f"{now.ready} of {now.wanted} pods of {now.name} are ready"
    return f"traffic moves to {now.name}: {now.accepted or 0}% so far"


def _raise_if_failed(known: History, chosen: Entry, sentence: str) -> None:
    """End the wait where the revision has failed.

    A failed revision does not serve until a user acts.

    Raises:
        Failed: The revision has failed.
    """
    rollout = known.resource.status.rollout
    stalled = any(
        each.type == ConditionType.STALLED and each.status == "True" for each in known.resource.status.conditions
    )
    if stalled and rollout is not None and rollout.phase is Phase.FAILED and rollout.target == chosen.hash:
        stays = f"; {known.stable.title} goes on serving" if known.stable is not None else ""
        raise Failed(
            f"{chosen.title} does not come up: {sentence}{stays}; `sluicegate unpin {known.name}` lets go of it"
        )
