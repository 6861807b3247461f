"""The circuit breaker of a registry: which failures are the registry's, and when they are reported."""

import pytest
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import ResolutionFailure
from sluicegate.runtime.registry.registry_health import REPORTED_AFTER, RegistryHealth

DOWN = ResolutionFailure(Reason.REGISTRY_UNREACHABLE, "down", transient=True)
BROKEN = ResolutionFailure(Reason.REGISTRY_ERROR, "500", transient=True)
NO_MODEL = ResolutionFailure(Reason.MODEL_NOT_FOUND, "no model")
MODELS = [f"m{number}" for number in range(10)]


@pytest.mark.parametrize(("failure", "expected"), [(DOWN, True), (NO_MODEL, False), (BROKEN, False)])
def test_tells_a_registrys_failure_from_a_models(failure: ResolutionFailure, expected: bool) -> None:
    assert RegistryHealth().is_registry_failure("m0", failure, MODELS) is expected


def test_several_failing_models_in_a_row_are_the_registry() -> None:
    health = RegistryHealth()
    assert [health.is_registry_failure(model, BROKEN, MODELS) for model in MODELS[:3]] == [False, False, True]


def test_a_response_between_them_clears_the_suspicion() -> None:
    health = RegistryHealth()
    for model in MODELS[:6]:
        assert not health.is_registry_failure(model, BROKEN, MODELS)
        health.responded("m9")


def test_the_only_model_failing_is_the_registry() -> None:
    assert RegistryHealth().is_registry_failure("m0", BROKEN, [])


def test_one_models_failures_become_its_own_after_three() -> None:
    health = RegistryHealth()
    for _ in range(REPORTED_AFTER):
        assert not health.is_reported("m0")
        assert not health.is_registry_failure("m0", BROKEN, MODELS)
        health.responded("m1")
    assert health.is_reported("m0")
    health.responded("m0")
    assert not health.is_reported("m0")


def test_reports_a_problem_once_and_its_end_once() -> None:
    health = RegistryHealth()
    assert [health.registry_failed(DOWN) for _ in range(5)] == [False, False, True, False, False]
    assert health.problem == DOWN
    assert health.responded("m0") and health.problem is None
    assert not health.responded("m0")


def test_reports_a_problem_whose_reason_changes() -> None:
    health = RegistryHealth()
    for _ in range(3):
        health.registry_failed(DOWN)
    assert health.registry_failed(BROKEN)
    assert health.problem == BROKEN


def test_probes_back_off_up_to_the_interval() -> None:
    health = RegistryHealth()
    delays = []
    for _ in range(8):
        health.registry_failed(DOWN)
        delays.append(health.retry_delay(30.0))
    assert delays == [2, 4, 8, 16, 30, 30, 30, 30]
    health.responded("m0")
    assert health.failures == 0


def test_forgets_models_that_no_resource_follows() -> None:
    health = RegistryHealth()
    for _ in range(REPORTED_AFTER):
        health.is_registry_failure("m0", BROKEN, MODELS)
        health.responded("m1")
    health.retain(["m1"])
    assert not health.is_reported("m0")
