"""The follower in virtual time: request rates, and which resources it wakes."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.api.reasons import Reason
from sluicegate.config.settings import build
from sluicegate.core.models.following import ModelView, Registration
from sluicegate.core.models.reference import RegistryAlias, RegistryVersion
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.registry.follower import Follower
from sluicegate.runtime.registry.registries import Registries, RegistryRef
from sluicegate.runtime.resources import Resources

from tests.support import virtual_clock

SETTINGS = build([("test", {"registries": {"default": {"trackingUri": "http://mlflow"}}})])
INTERVAL = 30.0
GONE = ResolutionFailure(Reason.MODEL_NOT_FOUND, "gone")


class FakeRegistry:
    """A registry whose faults the test sets.

    Tests of a real registry are in tests/registry.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.views: dict[str, ModelView | ResolutionFailure] = {}
        self.failure: ResolutionFailure | None = None
        self.delay = 0.0
        self.deleted: set[str] = set()
        self.registrations: dict[str, Registration] = {}
        self.looked_for: Counter[str] = Counter()
        self.failing = 1_000_000
        """The number of requests that fail, once `failure` is set."""
        self.polled = asyncio.Event()

    async def view(self, endpoint: RegistryEndpoint, model: str) -> ModelView:
        self.asked[model] += 1
        self.polled.set()
        self.failing -= self.failure is not None
        await asyncio.sleep(self.delay)
        failure = (self.failure if self.failing >= 0 else None) or self.views.get(model, GONE)
        if isinstance(failure, ResolutionFailure):
            raise ResolutionError(failure)
        return failure

    async def registration(self, endpoint: RegistryEndpoint, ref: RegistryVersion) -> Registration | None:
        self.looked_for[str(ref)] += 1
        if self.failure is not None:
            raise ResolutionError(self.failure)
        return None if str(ref) in self.deleted else self.registrations.get(str(ref), Registration())


class Here:
    """A follower of some resources, and the results."""

    def __init__(self) -> None:
        self.registry = FakeRegistry()
        self.resources = Resources(lambda _: None)
        registries = Registries(cast(KubeClient, None), SETTINGS)
        self.ref = RegistryRef("default", "http://mlflow", SETTINGS.operator_namespace, None)
        self.woken: Counter[str] = Counter()
        self.follower = Follower(
            PollContext(
                self.resources, registries, cast(RegistryPool, self.registry), lambda key: self.woken.update([key[1]])
            )
        )
        self._task = asyncio.ensure_future(self.follower.run(INTERVAL))

    def add(self, name: str, uri: str, version: str | None = "1", **spec: Any) -> None:
        model = {"uri": uri, "registry": "default", "source": "s3://a", "version": version, **spec.pop("pinned", {})}
        raw = {
            "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1", "generation": 1},
            "spec": {"model": {"uri": uri, **spec.pop("model", {})}, **spec},
            "status": {"model": model},
        }
        self.resources.streamed(raw, deleted=False)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


Life = Callable[[Here], Any]


def live(life: Life) -> Here:
    async def main() -> Here:
        here = Here()
        await life(here)
        await here.stop()
        return here

    return virtual_clock.run(main())


def test_two_thousand_followers_of_200_models_cost_200_requests_an_interval_and_wake_nobody() -> None:
    async def life(here: Here) -> None:
        for number in range(2000):
            here.add(f"r{number}", f"models:/m{number % 200}@a")
            here.registry.views[f"m{number % 200}"] = ModelView({"a": "1"})
        await asyncio.sleep(10 * INTERVAL)

    here = live(life)
    assert 9 * 200 <= here.registry.asked.total() <= 11 * 200
    assert set(here.registry.asked) == {f"m{number}" for number in range(200)}
    assert here.woken == {}


def test_a_move_wakes_those_that_follow_it_within_an_interval_and_nobody_else() -> None:
    async def life(here: Here) -> None:
        here.add("by-alias", "models:/churn@champion")
        here.add("by-other-alias", "models:/churn@old")
        here.add("by-stage", "models:/churn/Production")
        here.add("canary", "models:/other@a", canary={"weight": 5, "model": {"uri": "models:/churn@champion"}})
        here.registry.views = {
            "churn": ModelView({"champion": "1", "old": "1"}, {"Production": "1"}),
            "other": ModelView({"a": "1"}),
        }
        await asyncio.sleep(2 * INTERVAL)
        here.woken.clear()
        here.registry.views["churn"] = ModelView({"champion": "2", "old": "1"}, {"Production": "1"})
        await asyncio.sleep(1.2 * INTERVAL)

    assert live(life).woken == {"by-alias": 1, "canary": 1}


def test_what_moved_while_nobody_looked_wakes_at_the_first_look() -> None:
    async def life(here: Here) -> None:
        here.add("stale", "models:/churn@champion", version="1")
        here.add("fresh", "models:/churn@champion", version="2")
        here.registry.views["churn"] = ModelView({"champion": "2"})
        await asyncio.sleep(1.2 * INTERVAL)

    assert live(life).woken == {"stale": 1}


@pytest.mark.parametrize("reason", [Reason.REGISTRY_UNREACHABLE, Reason.REGISTRY_UNAUTHORIZED])
def test_a_registry_that_is_down_is_probed_by_few_requests_told_once_and_caught_up_with_at_once(
    reason: Reason,
) -> None:
    async def life(here: Here) -> None:
        for number in range(100):
            here.add(f"r{number}", f"models:/m{number}@a")
            here.registry.views[f"m{number}"] = ModelView({"a": "1"})
        await asyncio.sleep(2 * INTERVAL)
        here.woken.clear()
        here.registry.asked.clear()
        here.registry.failure = ResolutionFailure(reason, "down", transient=True)
        await asyncio.sleep(10 * INTERVAL)
        assert here.registry.asked.total() < 20
        assert set(here.woken.values()) == {1}
        assert here.woken.total() == 100
        here.registry.failure = None
        here.registry.views["m7"] = ModelView({"a": "2"})
        await asyncio.sleep(1.2 * INTERVAL + 10)
        assert here.woken["r7"] >= 2
        assert here.woken["r8"] == 2

    live(life)


def test_one_failure_alone_is_no_news() -> None:
    async def life(here: Here) -> None:
        here.add("shop", "models:/churn@a")
        here.registry.views["churn"] = ModelView({"a": "1"})
        await asyncio.sleep(2 * INTERVAL)
        here.registry.failing = 2
        here.registry.failure = ResolutionFailure(Reason.REGISTRY_UNREACHABLE, "down", transient=True)
        await asyncio.sleep(3 * INTERVAL)
        assert here.registry.failing < 0

    assert live(life).woken == {}


def test_what_nobody_follows_any_more_is_not_asked_for() -> None:
    async def life(here: Here) -> None:
        here.add("shop", "models:/churn@a")
        here.registry.views["churn"] = ModelView({"a": "1"})
        await asyncio.sleep(2 * INTERVAL)
        here.resources.remove(("ns", "shop"))
        await asyncio.sleep(2 * INTERVAL)
        here.registry.asked.clear()
        await asyncio.sleep(5 * INTERVAL)

    assert live(life).registry.asked.total() == 0


@pytest.mark.parametrize("bad", [1, 3])
@pytest.mark.parametrize(
    "reason",
    [
        Reason.REGISTRY_FORBIDDEN,
        Reason.REGISTRY_ERROR,
        Reason.REGISTRY_INVALID_ANSWER,
        Reason.MODEL_NOT_FOUND,
    ],
)
def test_the_trouble_of_some_models_is_told_once_to_their_followers_and_the_others_are_asked_as_ever(
    reason: Reason, bad: int
) -> None:
    async def life(here: Here) -> None:
        for number in range(8):
            here.add(f"r{number}", f"models:/m{number}@a")
            here.registry.views[f"m{number}"] = ModelView({"a": "1"})
        await asyncio.sleep(2 * INTERVAL)
        here.registry.asked.clear()
        for number in range(bad):
            here.registry.views[f"m{number}"] = ResolutionFailure(reason, "no", transient=True)
        await asyncio.sleep(20 * INTERVAL)
        assert all(17 <= here.registry.asked[f"m{number}"] <= 23 for number in range(8)), here.registry.asked
        assert here.woken == {f"r{number}": 1 for number in range(bad)}
        assert isinstance(here.follower.last_result(here.ref, "m0"), ResolutionFailure)
        assert here.follower.last_result(here.ref, "m7") == ModelView({"a": "1"})
        here.registry.views["m0"] = ModelView({"a": "2"})
        await asyncio.sleep(1.2 * INTERVAL)
        assert here.follower.last_result(here.ref, "m0") == ModelView({"a": "2"})

    live(life)


def test_every_model_failing_in_a_way_that_may_be_its_own_is_the_registry() -> None:
    async def life(here: Here) -> None:
        for number in range(100):
            here.add(f"r{number}", f"models:/m{number}@a")
            here.registry.views[f"m{number}"] = ModelView({"a": "1"})
        await asyncio.sleep(2 * INTERVAL)
        here.registry.asked.clear()
        here.registry.failure = ResolutionFailure(Reason.REGISTRY_ERROR, "down", transient=True)
        await asyncio.sleep(10 * INTERVAL)
        assert here.registry.asked.total() < 25
        assert here.woken == {f"r{number}": 1 for number in range(100)}

    live(life)


def test_a_slow_registry_is_still_asked_for_every_model_within_a_few_intervals() -> None:
    async def life(here: Here) -> None:
        here.registry.delay = 20.0
        for number in range(8):
            here.add(f"r{number}", f"models:/m{number}@a")
            here.registry.views[f"m{number}"] = ModelView({"a": "1"})
        await asyncio.sleep(12 * INTERVAL)
        assert min(here.registry.asked.values()) >= 6

    live(life)


def test_what_was_learnt_elsewhere_is_not_undone_by_a_poll_that_was_under_way() -> None:
    async def life(here: Here) -> None:
        here.add("shop", "models:/churn@champion")
        here.registry.views["churn"] = ModelView({"champion": "1", "old": "1"})
        await asyncio.sleep(2 * INTERVAL)
        here.registry.delay = 3.0
        here.registry.polled.clear()
        await here.registry.polled.wait()
        here.follower.learn(here.ref, RegistryAlias("churn", "champion"), "2")
        await asyncio.sleep(4)
        assert here.follower.last_result(here.ref, "churn") == ModelView({"champion": "2", "old": "1"})
        here.registry.views["churn"] = ModelView({"champion": "3", "old": "1"})
        await asyncio.sleep(1.2 * INTERVAL + 3)
        assert here.follower.last_result(here.ref, "churn") == ModelView({"champion": "3", "old": "1"})

    live(life)


def test_a_look_asks_at_once_and_many_looks_are_few_questions() -> None:
    async def life(here: Here) -> None:
        here.add("shop", "models:/churn@champion")
        here.add("other", "models:/other@a")
        here.registry.views = {"churn": ModelView({"champion": "1"}), "other": ModelView({"a": "1"})}
        await asyncio.sleep(2.5 * INTERVAL)
        here.registry.asked.clear()
        here.registry.delay = 0.5
        here.registry.views["churn"] = ModelView({"champion": "2"})
        for _ in range(50):
            assert here.follower.poll_soon(here.ref, "churn")
        await asyncio.sleep(0.1)
        for _ in range(50):
            assert here.follower.poll_soon(here.ref, "churn")
        await asyncio.sleep(1.5)
        assert 2 <= here.registry.asked["churn"] <= 3, "one, one more for what came meanwhile, and perhaps its turn"
        assert here.woken == {"shop": 1}
        assert not here.follower.poll_soon(here.ref, "unknown")

    live(life)


def test_a_look_at_a_registry_in_trouble_does_no_harm() -> None:
    async def life(here: Here) -> None:
        here.add("shop", "models:/churn@champion")
        here.registry.views["churn"] = ModelView({"champion": "1"})
        await asyncio.sleep(2 * INTERVAL)
        here.registry.failure = ResolutionFailure(Reason.REGISTRY_UNREACHABLE, "down", transient=True)
        here.follower.poll_soon(here.ref, "churn")
        await asyncio.sleep(1)
        here.registry.failure = None
        here.registry.views["churn"] = ModelView({"champion": "2"})
        here.follower.poll_soon(here.ref, "churn")
        await asyncio.sleep(1)
        assert here.woken == {"shop": 1}

    live(life)


def test_the_answer_to_an_older_question_is_no_news() -> None:
    async def life(here: Here) -> None:
        here.add("shop", "models:/churn@champion")
        here.registry.views["churn"] = ModelView({"champion": "1"})
        await asyncio.sleep(2 * INTERVAL)
        here.registry.delay = 10.0
        here.registry.polled.clear()
        await here.registry.polled.wait()
        here.registry.delay = 1.0
        here.registry.views["churn"] = ModelView({"champion": "2"})
        here.follower.poll_soon(here.ref, "churn")
        await asyncio.sleep(2)
        assert here.follower.last_result(here.ref, "churn") == ModelView({"champion": "2"})
        here.registry.views["churn"] = ModelView({"champion": "1"})  # The slow response will contain this.
        await asyncio.sleep(9)
        assert here.follower.last_result(here.ref, "churn") == ModelView({"champion": "2"})

    live(life)


def test_a_fixed_version_is_looked_for_once_in_ten_intervals_and_its_going_and_return_are_told_once() -> None:
    ref = RegistryVersion("churn", 3)

    async def life(here: Here) -> None:
        for number in range(50):
            here.add(f"r{number}", "models:/churn/3")
        here.add("other", "models:/other/1")
        here.add("canary", "s3://b/m", canary={"weight": 5, "model": {"uri": "models:/churn/3"}})
        await asyncio.sleep(100 * INTERVAL)
        assert 8 <= here.registry.looked_for["models:/churn/3"] <= 12
        assert here.woken == {}
        assert here.follower.missing(here.ref, ref) is False
        here.registry.deleted.add("models:/churn/3")
        await asyncio.sleep(50 * INTERVAL)
        assert set(here.woken) == {f"r{number}" for number in range(50)} | {"canary"}
        assert set(here.woken.values()) == {1}
        assert here.follower.missing(here.ref, ref) is True
        here.registry.deleted.clear()
        await asyncio.sleep(25 * INTERVAL)
        assert set(here.woken.values()) == {2}
        for name in [*(f"r{number}" for number in range(50)), "canary"]:
            here.resources.remove(("ns", name))
        await asyncio.sleep(25 * INTERVAL)
        assert here.follower.missing(here.ref, ref) is None

    assert live(life).registry.asked == {}


def test_a_registry_that_is_down_says_nothing_about_fixed_versions_and_is_asked_once_a_round() -> None:
    async def life(here: Here) -> None:
        for number in range(100):
            here.add(f"r{number}", f"models:/m{number}/1")
        here.registry.failure = ResolutionFailure(Reason.REGISTRY_UNREACHABLE, "down", transient=True)
        await asyncio.sleep(100 * INTERVAL)
        assert here.registry.looked_for.total() <= 12
        assert here.woken == {}
        assert here.follower.missing(here.ref, RegistryVersion("m0", 1)) is None

    live(life)


@pytest.mark.parametrize("uri", ["models:/churn/1", "models:/churn@champion"])
def test_a_new_version_wakes_those_whose_staleness_is_the_models(uri: str) -> None:
    async def life(here: Here) -> None:
        here.add("mine", uri, model={"staleAgainst": "Model"})
        here.add("other", uri)
        here.registry.views["churn"] = ModelView({"champion": "1"}, {"None": "1"})
        await asyncio.sleep(3 * INTERVAL)
        here.woken.clear()
        here.registry.views["churn"] = ModelView({"champion": "1"}, {"None": "2"})
        await asyncio.sleep(1.5 * INTERVAL)
        assert here.woken == {"mine": 1}

    live(life)


OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


@pytest.mark.parametrize(
    "after",
    [
        ModelView({"a": "1"}, created_at=NEW),
        ModelView({"a": "1"}, created_at=OLD, registrations={"1": Registration(NEW)}),
        ModelView({"a": "1"}, created_at=OLD, registrations={"1": Registration(OLD, "run-2")}),
    ],
)
def test_version_registered_anew_wakes_its_followers_once(after: ModelView) -> None:
    before = ModelView({"a": "1"}, created_at=OLD, registrations={"1": Registration(OLD, "run-1")})

    async def life(here: Here) -> None:
        here.add("shop", "models:/churn@a", pinned={"registeredAt": OLD, "runId": "run-1"})
        here.registry.views["churn"] = before
        await asyncio.sleep(2 * INTERVAL)
        assert here.woken == {}
        here.registry.views["churn"] = after
        await asyncio.sleep(5 * INTERVAL)

    assert live(life).woken == {"shop": 1}


def test_version_registered_anew_during_a_restart_is_found() -> None:
    async def life(here: Here) -> None:
        here.add("shop", "models:/churn@a", pinned={"registeredAt": OLD})
        here.registry.views["churn"] = ModelView({"a": "1"}, created_at=NEW)
        await asyncio.sleep(5 * INTERVAL)

    assert live(life).woken == {"shop": 1}


def test_fixed_version_registered_anew_wakes_its_resources_once() -> None:
    async def life(here: Here) -> None:
        here.add("shop", "models:/churn/3", version="3", pinned={"registeredAt": OLD})
        here.registry.registrations["models:/churn/3"] = Registration(OLD)
        await asyncio.sleep(25 * INTERVAL)
        assert here.woken == {}
        here.registry.registrations["models:/churn/3"] = Registration(NEW)
        await asyncio.sleep(50 * INTERVAL)
        assert here.follower.registration(here.ref, RegistryVersion("churn", 3)) == Registration(NEW)

    assert live(life).woken == {"shop": 1}
