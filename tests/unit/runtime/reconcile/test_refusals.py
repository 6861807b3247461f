"""Writes that the API server does not accept: what status says, and what is written all the same."""

from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
from sluicegate.api import names
from sluicegate.core.decide.decision import decide
from sluicegate.core.snapshot.assessment import assess
from sluicegate.core.status.compose import compose
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import KubeError, NamespaceTerminating, Unreachable, from_response
from sluicegate.kube.kinds import Kind
from sluicegate.runtime.reconcile.apply import ONLY_CREATE, Applied, Applier
from sluicegate.runtime.reconcile.caches import Caches
from sluicegate.runtime.reconcile.gather import Gathered
from sluicegate.runtime.reconcile.refusals import CONFLICT_SECONDS, CONNECTION_SECONDS

from tests.support.api_objects import _template
from tests.support.fake_cluster import NAME, NAMESPACE, World
from tests.unit.core.decide.test_lives import reasons

WEBHOOK = (
    'failed calling webhook "dead.ops.example": Post "https://nowhere.ops.svc:443/?timeout=2s": service "nowhere" '
    "not found"
)
QUOTA = 'deployments.apps "churn-1" is forbidden: exceeded quota: q, requested: count/deployments.apps=1'
POLICY = "ValidatingAdmissionPolicy 'team' denied request: no cost centre"


def failure(code: int, reason: str, message: str, **details: Any) -> KubeError:
    """Return the error of a response with this Status object."""
    status = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details or None}
    return from_response(code, reason, msgspec.json.encode(status))


class Server:
    """An API server in memory, which may fail any write."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, str], dict[str, Any]] = {}
        self.log: list[str] = []
        """Each write that arrived: `Service churn`, its deletion `-Service churn`, or its patch `~Service churn`."""
        self.owner: dict[str, Any] | None = {"metadata": {"uid": "u-1"}}
        """The ModelDeployment."""
        self.fails: Callable[[Kind, str], KubeError | None] = lambda kind, name: None
        self._version = 1  # the first object has a higher one, because ONLY_CREATE is 1

    async def apply(self, kind: Kind, manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
        name = manifest["metadata"]["name"]
        self._answer(f"{kind.kind} {name}", kind, name)
        if manifest["metadata"].get("resourceVersion") == ONLY_CREATE and (kind, name) in self.objects:
            raise failure(409, "Conflict", "the object has been modified")
        self._version += 1
        metadata = {**manifest["metadata"], "uid": name, "resourceVersion": str(self._version)}
        self.objects[kind, name] = {**manifest, "metadata": metadata}
        return self.objects[kind, name]

    async def set_owners(self, kind: Kind, seen: dict[str, Any], references: Any, **options: Any) -> dict[str, Any]:
        name = seen["name"]
        self._answer(f"~{kind.kind} {name}", kind, name)
        stored = self.objects[kind, name]
        if stored["metadata"]["resourceVersion"] != seen["resourceVersion"]:
            raise failure(409, "Conflict", "the object has been modified")
        self._version += 1
        metadata = {**stored["metadata"], "ownerReferences": references, "resourceVersion": str(self._version)}
        self.objects[kind, name] = {**stored, "metadata": metadata}
        return self.objects[kind, name]

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> bool:
        self._answer(f"-{kind.kind} {name}", kind, name)
        return self.objects.pop((kind, name), None) is not None

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        return self.owner if kind is kinds.MODEL_DEPLOYMENT else self.objects.get((kind, name))

    def _answer(self, line: str, kind: Kind, name: str) -> None:
        self.log.append(line)
        if (error := self.fails(kind, name)) is not None:
            raise error


class Operator:
    """The apply step, which writes the plans of a simulated cluster to a server."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.server = Server()
        client = cast(KubeClient, self.server)
        self.caches = Caches(client, None, 600.0)
        self.applier = Applier(client, self.caches)

    async def reconcile(self) -> Applied:
        """Apply the plan and compose the status, as the reconciler does."""
        snapshot = self.world.snapshot()
        assessment = assess(snapshot)
        plan = decide(assessment)
        self.server.log.clear()
        templates = {entry.hash: _template(NAME, entry.hash) for entry in plan.revisions}
        applied = await self.applier.apply(snapshot.resource, Gathered(snapshot, templates), plan)
        self.world.status = compose(assessment, plan, applied.refused)
        return applied

    async def store(self) -> None:
        """Store the children of the simulated cluster on the server."""
        for obj in self.world.objects.values():
            kind = kinds.by_api(obj["apiVersion"], obj["kind"])
            self.caches.children[kind].put(await self.server.apply(kind, obj))

    def refuse(self, kind: Kind, error: KubeError | None) -> None:
        """Let writes of one kind fail."""
        self.server.fails = lambda written, name: error if written is kind else None


PASSING = {
    "webhook": failure(500, "InternalError", WEBHOOK, causes=[{"message": WEBHOOK}]),
    "timeout": failure(504, "Timeout", "request did not complete within the allotted timeout"),
    "unavailable": failure(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    "overload": failure(429, "TooManyRequests", "too many requests, please try again later"),
    "quota": failure(403, "Forbidden", QUOTA, name="churn-1", group="apps", kind="deployments"),
    "namespace": failure(404, "NotFound", 'namespaces "shop" not found', name="shop", kind="namespaces"),
    "no response": Unreachable("the API server did not respond to PATCH /apis in time", timed_out=True),
}
FOR_THE_USER = {
    "policy": failure(422, "Invalid", POLICY, causes=[{"message": POLICY}]),
    "forbidden by a policy": failure(403, "Forbidden", POLICY, kind="deployments", causes=[{"message": POLICY}]),
    "webhook denies": failure(403, "Forbidden", 'admission webhook "gate" denied the request: no'),
    "invalid": failure(422, "Invalid", "spec.template.spec.containers[0].image: Required value", kind="Deployment"),
    "bad request": failure(400, "BadRequest", 'unknown field "spec.x"'),
}


@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING)
async def test_a_failure_that_may_pass_is_reconciling_with_its_text(error: KubeError) -> None:
    operator = Operator(World())
    operator.refuse(kinds.DEPLOYMENT, error)
    await operator.reconcile()
    world = operator.world
    assert reasons(world)["Ready"] == reasons(world)["Reconciling"].replace("True", "False") == "False ApplyRefused"
    assert reasons(world)["Stalled"] == "False NotStalled"
    message = world.condition("Ready").message
    assert f"Deployment churn-{world.hash_of(1)}" in message and message.endswith("The operator retries.")
    assert getattr(error, "message", "in time") in message


@pytest.mark.parametrize("error", FOR_THE_USER.values(), ids=FOR_THE_USER)
async def test_a_refusal_by_a_policy_is_stalled_at_once(error: Any) -> None:
    operator = Operator(World())
    operator.refuse(kinds.DEPLOYMENT, error)
    await operator.reconcile()
    assert reasons(operator.world)["Stalled"] == "True ApplyRefused"
    assert error.message in operator.world.condition("Stalled").message


async def test_the_class_of_a_failure_does_not_follow_its_wording() -> None:
    for texts in (("exceeded quota", "denied the request"), ("denied the request", "exceeded quota")):
        for code, text in zip((403, 422), texts, strict=True):
            operator = Operator(World())
            operator.refuse(kinds.DEPLOYMENT, failure(code, "", text, kind="deployments"))
            assert (await operator.reconcile()).refused.waits_for_user is (code == 422)  # type: ignore[union-attr]


async def test_one_refused_write_does_not_hold_back_the_others() -> None:
    operator = Operator(World().gateway().rest().edit(scaling={"min": 1, "max": 3}))
    operator.refuse(kinds.DEPLOYMENT, PASSING["webhook"])
    await operator.reconcile()
    kept = {kind.kind for kind, _ in operator.server.objects}
    assert kept == {"Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "HTTPRoute"}


async def test_several_refusals_name_every_object_and_the_one_for_the_user_first() -> None:
    operator = Operator(World())
    errors = {kinds.DEPLOYMENT: PASSING["webhook"], kinds.PDB: FOR_THE_USER["invalid"]}
    operator.server.fails = lambda kind, name: errors.get(kind)
    applied = await operator.reconcile()
    child = f"churn-{operator.world.hash_of(1)}"
    assert applied.refused is not None and applied.refused.waits_for_user
    assert applied.refused.message.startswith(f"The API server refused PodDisruptionBudget {child}: ")
    assert applied.refused.message.endswith(f"Also refused: Deployment {child}.")


async def test_no_pods_without_their_controller_revision() -> None:
    operator = Operator(World().rest().serve(2))
    operator.refuse(kinds.CONTROLLER_REVISION, PASSING["webhook"])
    await operator.reconcile()
    new = operator.world.hash_of(2)
    assert not [line for line in operator.server.log if new in line and not line.startswith("ControllerRevision")]
    assert f"Service {NAME}" in operator.server.log, "what does not need it is written"


async def test_replicas_wait_until_the_autoscaler_is_deleted() -> None:
    operator = Operator(World(scaling={"min": 2, "max": 4}).rest())
    await operator.store()
    operator.world.edit(scaling={"replicas": 1})
    operator.refuse(kinds.HPA, PASSING["webhook"])
    applied = await operator.reconcile()
    child = f"churn-{operator.world.hash_of(1)}"
    assert operator.server.log == [f"-HorizontalPodAutoscaler {child}"]
    assert applied.refused is not None and f"the deletion of HorizontalPodAutoscaler {child}" in applied.refused.message


async def test_stalled_once_progress_deadline_has_passed() -> None:
    operator = Operator(World())
    operator.refuse(kinds.DEPLOYMENT, PASSING["webhook"])
    await operator.reconcile()
    operator.world.later(599)
    await operator.reconcile()
    assert reasons(operator.world)["Stalled"] == "False NotStalled"
    operator.world.later(1)
    await operator.reconcile()
    assert reasons(operator.world)["Stalled"] == "True ApplyRefused"
    assert WEBHOOK in operator.world.condition("Stalled").message
    operator.refuse(kinds.DEPLOYMENT, None)
    await operator.reconcile()
    assert "ApplyRefused" not in str(reasons(operator.world))


async def test_the_deadline_of_a_resource_at_rest_counts_from_when_it_was_ready() -> None:
    operator = Operator(World().rest())
    operator.refuse(kinds.SERVICE, PASSING["webhook"])
    for seconds, stalled in ((0, "False NotStalled"), (599, "False NotStalled"), (1, "True ApplyRefused")):
        operator.world.later(seconds)
        await operator.reconcile()
        assert reasons(operator.world)["Stalled"] == stalled
    assert reasons(operator.world)["Available"] == "True Serving"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (failure(409, "Conflict", "the object has been modified"), CONFLICT_SECONDS),
        (Unreachable("the API server cannot be reached"), CONNECTION_SECONDS),
    ],
    ids=["conflict", "broken connection"],
)
async def test_what_happens_without_a_fault_is_reported_once_it_repeats(error: KubeError, seconds: float) -> None:
    operator = Operator(World())
    operator.refuse(kinds.DEPLOYMENT, error)
    for _ in range(2):
        operator.world.later(seconds / 2 - 0.1)
        if isinstance(error, Unreachable):
            with pytest.raises(Unreachable):
                await operator.reconcile()
        else:
            applied = await operator.reconcile()
            assert (applied.conflicts, applied.refused) == (1, None)
    operator.world.later(seconds)
    applied = await operator.reconcile()
    assert applied.refused is not None and not applied.refused.waits_for_user and applied.conflicts == 0
    assert (kinds.SERVICE, NAME) in operator.server.objects
    operator.refuse(kinds.DEPLOYMENT, None)
    assert (await operator.reconcile()).refused is None
    operator.world.edit(scaling={"replicas": 2})
    operator.refuse(kinds.DEPLOYMENT, failure(409, "Conflict", "the object has been modified"))
    assert (await operator.reconcile()).refused is None, "a success ends the series"


async def test_a_silent_api_server_ends_the_writes_after_two_kinds() -> None:
    operator = Operator(World().gateway().rest().serve(2))
    operator.server.fails = lambda kind, name: PASSING["no response"]
    await operator.reconcile()
    assert [line.split()[0] for line in operator.server.log] == ["ControllerRevision", "Deployment"]


async def test_a_namespace_that_is_being_deleted_is_no_refusal() -> None:
    operator = Operator(World())
    causes = [{"reason": "NamespaceTerminating", "message": "it is being terminated"}]
    operator.refuse(kinds.DEPLOYMENT, failure(403, "Forbidden", "being terminated", kind="deployments", causes=causes))
    with pytest.raises(NamespaceTerminating):
        await operator.reconcile()


async def test_revisions_beyond_the_history_limit_make_room_for_a_new_one() -> None:
    """A quota of three Deployments is full, and historyLimit is lowered."""
    world = World()
    for version in (1, 2, 3):
        world.serve(version).rest()
    operator = Operator(world)
    await operator.store()

    def full(kind: Kind, name: str) -> KubeError | None:
        known = (kind, name) in operator.server.objects
        count = sum(stored is kind for stored, _ in operator.server.objects)
        return PASSING["quota"] if kind is kinds.DEPLOYMENT and not known and count >= 3 else None

    operator.server.fails = full
    await operator.store()
    world.serve(4)
    assert (await operator.reconcile()).refused is not None
    world.edit(rollout={"historyLimit": 0})
    applied = await operator.reconcile()
    assert applied.refused is None and applied.deletions == 4
    names_left = {name for kind, name in operator.server.objects if kind is kinds.DEPLOYMENT}
    assert names_left == {f"churn-{world.hash_of(version)}" for version in (3, 4)}


async def test_a_refusal_holds_back_no_deletion() -> None:
    world = World(rollout={"historyLimit": 1})
    for version in (1, 2, 3):
        world.serve(version).rest()
    operator = Operator(world)
    await operator.store()
    world.edit(rollout={"historyLimit": 0}, scaling={"replicas": 2})
    operator.server.fails = lambda kind, name: None if name == f"churn-{world.hash_of(2)}" else PASSING["webhook"]
    applied = await operator.reconcile()
    assert applied.refused is not None and applied.deletions == 2


async def test_a_service_that_the_route_names_outlives_a_refused_route() -> None:
    world = World().gateway().rest()
    operator = Operator(world)
    await operator.store()
    old = world.hash_of(1)
    route = operator.server.objects[kinds.HTTP_ROUTE, NAME]
    world.serve(2).rest()
    world.objects.pop(("HTTPRoute", NAME))
    await operator.store()
    plan = decide(assess(world.snapshot()))
    assert old in [entry.hash for entry in plan.revisions if entry.parked]
    assert plan.route is not None and old not in plan.route.split.revisions
    operator.caches.children[kinds.HTTP_ROUTE].put(route)
    operator.refuse(kinds.HTTP_ROUTE, PASSING["webhook"])
    assert (await operator.reconcile()).refused is not None
    assert (kinds.SERVICE, f"churn-{old}") in operator.server.objects
    operator.refuse(kinds.HTTP_ROUTE, None)
    assert (await operator.reconcile()).refused is None
    assert (kinds.SERVICE, f"churn-{old}") not in operator.server.objects


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(
    ("owner", "leaving"),
    [
        ({"apiVersion": names.API_VERSION, "kind": names.KIND, "name": NAME, "uid": "earlier"}, True),
        ({"apiVersion": names.API_VERSION, "kind": names.KIND, "name": "other", "uid": "o", "controller": True}, False),
        ({"apiVersion": "v1", "kind": "ConfigMap", "name": NAME, "uid": "c", "controller": True}, False),
    ],
    ids=["earlier ModelDeployment", "another ModelDeployment", "another kind"],
)
async def test_a_child_of_a_deleted_owner_is_waited_for(owner: dict[str, Any], leaving: bool, cached: bool) -> None:
    operator = Operator(World())
    await operator.reconcile()
    service = operator.server.objects[kinds.SERVICE, NAME]
    service = {**service, "metadata": {**service["metadata"], "ownerReferences": [owner], "resourceVersion": "90"}}
    operator.server.objects[kinds.SERVICE, NAME] = service
    cache = operator.caches.children[kinds.SERVICE]
    if cached:
        cache.put(service)
    else:
        cache.forget(NAMESPACE, NAME, service["metadata"]["uid"])
        conflict = failure(409, "Conflict", "the object has been modified")
        operator.server.fails = lambda kind, name: conflict if (kind, name) == (kinds.SERVICE, NAME) else None
    await operator.reconcile()
    assert reasons(operator.world)["Ready"] == "False NameTaken"
    assert reasons(operator.world)["Stalled"] == ("False NotStalled" if leaving else "True NameTaken")
    operator.world.later(600)
    await operator.reconcile()
    assert reasons(operator.world)["Stalled"] == "True NameTaken"
