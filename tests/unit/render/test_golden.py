"""Golden files, so that rendered manifests change only on purpose."""

from pathlib import Path

import pytest

from tests.golden import cases, expected, rendered


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.stem)
def test_rendering_is_as_reviewed(case: Path) -> None:
    assert rendered(case) == expected(case).read_text(), "if it is meant, run `make golden` and review the difference"
