"""The namespace of one test, and the actions of tests on ModelDeployments in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from e2e.support.kube import Json, Kube, wait_until
from e2e.support.load import Load, predict, routed
from e2e.support.registry import MODEL
from tools.localcluster import Cluster


class Workspace:
    """The namespace of one test."""

    def __init__(self, cluster: Cluster, kube: Kube, namespace: str) -> None:
        self.cluster = cluster
        self.kube = kube
        self.namespace = namespace

    def apply(self, what: str | Json, **spec: Any) -> Json:
        """Apply a ModelDeployment, and return the object.

        The API server removes fields that an earlier call had and this call does not have.

        Args:
            what: a whole manifest, or a name.
            spec: with a name, the fields of the spec that differ from the tests' defaults. `model` may be a URI, or a
                number that stands for that version of the example model.
        """
        if isinstance(what, str):
            model = spec.pop("model", 1)
            if isinstance(model, int):
                model = f"models:/{MODEL}/{model}"
            fields = {"rollout": {"scaleDownDelay": "3s"}, **spec}
            fields["model"] = {"uri": model} if isinstance(model, str) else model
            what = {"metadata": {"name": what}, "spec": fields}
        manifest = {
            "apiVersion": "sluicegate.dev/v1alpha1",
            "kind": "ModelDeployment",
            **what,
            "metadata": {**what["metadata"], "namespace": self.namespace},
        }
        return self.kube.apply("mdep", manifest)

    def get(self, kind: str, name: str) -> Json | None:
        """Return an object of this namespace, or None."""
        return self.kube.get(kind, name, self.namespace)

    def list(self, kind: str, **labels: str) -> list[Json]:
        """List objects of this namespace."""
        return self.kube.list(kind, self.namespace, **labels)

    def mdep(self, name: str) -> Json:
        """Return the ModelDeployment."""
        resource = self.get("mdep", name)
        assert resource is not None, f"ModelDeployment {name} is gone"
        return resource

    def status(self, name: str) -> Json:
        """Return its status. Empty until the operator has written it."""
        return dict(self.mdep(name).get("status") or {})

    def condition(self, name: str, kind: str) -> Json:
        """Return one condition, or {} if it is missing."""
        found = [each for each in self.status(name).get("conditions") or () if each["type"] == kind]
        return dict(found[0]) if found else {}

    def wait_condition(self, name: str, kind: str, status: str, reason: str | None = None, timeout: float = 90) -> Json:
        """Wait for a condition that is about the current generation, and return it."""
        seen: Json = {}

        def look() -> Json | None:
            nonlocal seen
            resource = self.mdep(name)
            for each in (resource.get("status") or {}).get("conditions") or ():
                if each["type"] == kind:
                    seen = dict(each)
                    fits = each["status"] == status and reason in (None, each["reason"])
                    if fits and each.get("observedGeneration") == resource["metadata"]["generation"]:
                        return seen
            return None

        try:
            return dict(wait_until(f"{name} to have {kind}={status} {reason or ''}", look, timeout))
        except AssertionError as late:
            raise AssertionError(f"{late}; the condition is {seen}") from None

    def wait_ready(self, name: str, timeout: float = 120) -> Json:
        """Wait until the declared state serves, and return the status.

        A gateway accepts a route a moment before it routes. Traefik collects changes for up to two seconds.
        No Gateway API condition tells the two apart. Only the first route of a resource shows the difference.
        """
        self.wait_condition(name, "Ready", "True", timeout=timeout)
        status = self.status(name)
        if "url" in status:
            wait_until(f"the gateway to route {status['url']}", lambda: routed(status["url"]), 20)
        return status

    def wait_answers(self, name: str, version: int, timeout: float = 20) -> None:
        """Wait until every endpoint returns predictions of this version.

        As in `wait_ready`, a gateway may apply a route up to two seconds after it has accepted it.
        """
        for way, url in self.urls(name).items():
            wait_until(f"version {version} by the {way}", lambda at=url: predict(at) == version, timeout)  # type: ignore[misc]

    def pods(self, name: str, revision: str | None = None) -> Sequence[Json]:
        """List the pods of a ModelDeployment that are not being deleted."""
        labels = {"sluicegate.dev__deployment": name} | ({"sluicegate.dev__revision": revision} if revision else {})
        return [pod for pod in self.list("pod", **labels) if not pod["metadata"].get("deletionTimestamp")]

    def all_pods(self, name: str) -> Sequence[Json]:
        """List the pods of a ModelDeployment, including those that are being deleted."""
        return self.list("pod", **{"sluicegate.dev__deployment": name})

    def revisions(self, name: str) -> Sequence[Json]:
        """List its ControllerRevisions, oldest first."""
        found = self.list("controllerrevision", **{"sluicegate.dev__deployment": name})
        return sorted(found, key=lambda each: int(each["revision"]))

    def stable(self, name: str) -> str:
        """Return the hash of the stable revision. Empty if there is none."""
        return next(
            (
                revision["revision"]
                for revision in self.status(name).get("revisions") or ()
                if revision["role"] == "Stable"
            ),
            "",
        )

    def child(self, kind: str, name: str, revision: str) -> Json:
        """Return an object that belongs to one revision."""
        found = self.get(kind, f"{name}-{revision}")
        assert found is not None, f"{kind} {name}-{revision} is gone"
        return found

    def applied(self) -> dict[tuple[str, str, str], str]:
        """Return when the operator last applied each object, and the object's generation.

        The result leaves out other writers, such as the autoscaler's updates of the status.
        """
        kinds = ("mdep", "deployment", "controllerrevision", "service", "hpa", "pdb", "httproute")
        return {
            (kind, each["metadata"]["name"], entry["manager"]): entry["time"] + str(each["metadata"].get("generation"))
            for kind in kinds
            for each in self.list(kind)
            for entry in each["metadata"]["managedFields"]
            if entry["manager"].startswith("sluicegate")
        }

    def wait_only(self, name: str, revision: str, timeout: float = 120) -> None:
        """Wait until no pod of another revision is left, not even one that is draining."""
        label = "sluicegate.dev/revision"
        wait_until(
            f"the pods of other revisions than {revision} to be gone",
            lambda: {pod["metadata"]["labels"][label] for pod in self.all_pods(name)} <= {revision},
            timeout,
            every=0.3,
        )

    def wait_changed(self, name: str, steady: Load, version: int) -> None:
        """Wait until a change is complete, the old pods are gone, and every client gets responses of `version`."""
        self.wait_ready(name)
        self.wait_only(name, self.stable(name))
        wait_until(f"every client to be answered by version {version}", lambda: steady.settled_on(version), 30)

    def urls(self, name: str) -> dict[str, str]:
        """Return every endpoint: the gateway's URL, and the Service by its cluster IP."""
        service = self.get("service", name)
        assert service is not None
        return {"gateway": self.status(name)["url"], "service": f"http://{service['spec']['clusterIP']}"}
