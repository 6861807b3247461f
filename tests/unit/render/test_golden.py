"""Golden files, so that rendered manifests change only on purpose."""

from pathlib import Path

import pytest
import yaml
from sluicegate.cli.validation import gateway_api

from tests.golden import cases, expected, rendered


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.stem)
def test_rendering_is_as_reviewed(case: Path) -> None:
    assert rendered(case) == expected(case).read_text(), "if it is meant, run `make golden` and review the difference"


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.stem)
def test_gateway_api_accepts_the_routes(case: Path) -> None:
    routes = [manifest for manifest in yaml.safe_load_all(rendered(case)) if manifest["kind"] == "HTTPRoute"]
    assert [problem for route in routes for problem in gateway_api.problems(route)] == []
