"""The poll results of a registry, whose responses arrive in any order."""

from sluicegate.api.reasons import Reason
from sluicegate.core.models.following import ModelView
from sluicegate.core.models.reference import RegistryAlias
from sluicegate.core.models.resolution import ResolutionFailure
from sluicegate.runtime.registry.model_views import ModelViews

OLD, NEW = ModelView({"a": "1"}), ModelView({"a": "2"})
ALIAS = RegistryAlias("m", "a")


def test_an_older_request_does_not_replace_a_newer_one() -> None:
    views = ModelViews()
    slow, fast = views.begin_request(), views.begin_request()
    assert views.is_newest("m", fast)
    assert not views.is_newest("m", slow)
    assert views.is_newest("other", slow)


def test_store_returns_the_result_before() -> None:
    views = ModelViews()
    assert views.get("m") is None
    assert views.store("m", OLD) is None
    assert views.store("m", NEW) == OLD
    assert views.get("m") == NEW


def test_a_learned_version_is_newer_than_a_poll_in_progress() -> None:
    views = ModelViews()
    views.store("m", OLD)
    polled = views.begin_request()
    views.learn(ALIAS, "2")
    assert views.get("m") == NEW
    assert not views.is_newest("m", polled)
    assert views.is_newest("m", views.begin_request())


def test_learning_leaves_a_failure_in_place() -> None:
    views = ModelViews()
    failure = ResolutionFailure(Reason.MODEL_NOT_FOUND, "no model")
    views.store("m", failure)
    views.learn(ALIAS, "2")
    assert views.get("m") == failure


def test_forgets_models_that_no_resource_follows() -> None:
    views = ModelViews()
    request = views.begin_request()
    for model in ("m", "other"):
        views.is_newest(model, views.begin_request())
        views.store(model, OLD)
    views.retain({"other"})
    assert set(views.models()) == {"other"}
    assert views.is_newest("m", request)
