"""The children of one ModelDeployment as API objects, as far as decisions depend on them."""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from typing import Any

from sluicegate.api import names
from sluicegate.cli.validation import gateway_api
from sluicegate.core.plan.types import Autoscaled, Plan
from sluicegate.core.snapshot import parse, parse_gateway
from sluicegate.core.snapshot.facts import Snapshot, Split
from sluicegate.render import children
from sluicegate.render.diff import difference, fingerprinted


class ApiObjects:
    """What the API server stores of the children, and each write."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.writes: list[str] = []
        self.refused_kinds: frozenset[str] = frozenset()
        """The kinds of which the API server accepts no write and no deletion."""

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [obj for (each, _), obj in self.objects.items() if each == kind]

    def replicas(self, revision: str) -> int:
        """Return spec.replicas of a revision's Deployment."""
        return int(self.objects["Deployment", f"{self.name}-{revision}"]["spec"]["replicas"])

    def service_selects(self) -> str | None:
        """Return the hash in the stable Service's selector."""
        selector = self.objects["Service", self.name]["spec"]["selector"]
        found: str | None = selector.get(names.LABEL_REVISION)
        return found

    def weights(self) -> dict[str, int]:
        """Return the weights in the HTTPRoute's spec."""
        return dict(self.split().weights)

    def split(self) -> Split:
        """Return the weights, matches and mirrors of the HTTPRoute."""
        return parse_gateway.route(self.objects["HTTPRoute", self.name]).split

    def apply_plan(self, snapshot: Snapshot, plan: Plan) -> None:
        """Write and delete the children as the runtime does, with the real renderer and the real diff."""
        roles = {entry.hash: entry for entry in plan.revisions}
        for obj in self.of_kind("HorizontalPodAutoscaler"):
            revision = obj["metadata"]["labels"][names.LABEL_REVISION]
            if revision in plan.forgotten or (revision in roles and not isinstance(roles[revision].scale, Autoscaled)):
                self.delete("HorizontalPodAutoscaler", obj["metadata"]["name"])
        self._delete_surplus(plan)
        templates = {
            obj["metadata"]["labels"][names.LABEL_REVISION]: obj["data"]["template"]
            for obj in self.of_kind("ControllerRevision")
        }
        for desired in snapshot.all_desired:
            if desired.intent is not None:
                templates.setdefault(desired.intent.hash, _template(self.name, desired.intent.hash))
        unrecorded = set()
        for manifest in list(children.records(snapshot, plan, templates)):
            self.put(manifest)
            if ("ControllerRevision", manifest["metadata"]["name"]) not in self.objects:
                unrecorded.add(manifest["metadata"]["labels"][names.LABEL_REVISION])
        held = {obj["metadata"]["name"] for obj in self.of_kind("HorizontalPodAutoscaler")}
        held -= {f"{self.name}-{entry.hash}" for entry in plan.revisions if isinstance(entry.scale, Autoscaled)}
        for manifest in children.render(snapshot.resource, plan, templates):
            metadata = manifest["metadata"]
            refused = metadata["labels"].get(names.LABEL_REVISION) in unrecorded
            if not refused and not (manifest["kind"] == "Deployment" and metadata["name"] in held):
                self.put(manifest)
        if plan.drop_route and ("HTTPRoute", self.name) in self.objects:
            self.delete("HTTPRoute", self.name)
        self._delete_surplus(plan)

    def _delete_surplus(self, plan: Plan) -> None:
        parked = {entry.hash for entry in plan.revisions if entry.parked}
        route = self.objects.get(("HTTPRoute", self.name))
        named = parse_gateway.route(route).split.revisions if route is not None else frozenset()
        for kind, name in list(self.objects):
            found = self.objects[kind, name]["metadata"]["labels"].get(names.LABEL_REVISION)
            kept = kind in ("ControllerRevision", "Deployment")
            if found not in named and (found in plan.forgotten or (found in parked and not kept)):
                self.delete(kind, name)

    def put(self, manifest: dict[str, Any]) -> None:
        """Apply an object as server-side apply does, as far as decisions depend on it.

        This covers spec.replicas, and which field manager owns it.
        """
        key = (manifest["kind"], manifest["metadata"]["name"])
        there = self.objects.get(key)
        wanted = fingerprinted(copy.deepcopy(manifest))
        if there is not None and difference(wanted, there) is None:
            return
        if manifest["kind"] in self.refused_kinds:
            return
        if manifest["kind"] == "HTTPRoute":
            assert not _refusals(json.dumps(manifest["spec"])), "the API server would refuse the route"
        self.writes.append("/".join(key))
        before = there["metadata"] if there is not None else {"generation": 0}
        if manifest["kind"] == "Deployment":
            if "replicas" in wanted["spec"]:
                wanted["metadata"]["managedFields"] = [
                    {"manager": names.MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
                ]
            else:
                assert there is not None, "a Deployment was born without a number of pods"
                assert not parse.owns_replicas(there), "dropping replicas that only we own sets them to 1"
                wanted["spec"]["replicas"] = there["spec"]["replicas"]
        if there is not None and "status" in there:
            wanted["status"] = there["status"]
        changed = there is None or there.get("spec") != wanted.get("spec")
        wanted["metadata"]["generation"] = before["generation"] + changed
        self.objects[key] = wanted

    def delete(self, kind: str, name: str) -> None:
        if kind in self.refused_kinds:
            return
        self.writes.append(f"-{kind}/{name}")
        del self.objects[kind, name]


@lru_cache(maxsize=4096)
def _refusals(spec: str) -> list[Any]:
    return gateway_api.problems({"spec": json.loads(spec)})


def _template(name: str, revision: str) -> dict[str, Any]:
    """Return a minimal pod template.

    The content of a pod template matters to the renderer, not to decisions.
    """
    container = {"name": names.MODEL_CONTAINER, "image": "scorer:1"}
    return {"metadata": {"labels": names.revision_labels(name, revision)}, "spec": {"containers": [container]}}
