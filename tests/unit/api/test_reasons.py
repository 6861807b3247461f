"""The reasons: each has a remedy, and the guide's tables hold all of them."""

from pathlib import Path

import pytest
from sluicegate.api.reasons import Reason
from sluicegate.api.remedies import IN_ROLLOUTS, REMEDIES, ROLES, Section
from sluicegate.api.status import Role

from tools.docsgen.reasons import filled

GUIDE = Path(__file__).resolve().parents[3] / "docs/guide/status.md"


@pytest.mark.parametrize("reason", Reason)
def test_guide_has_every_reason_and_its_remedy(reason: Reason) -> None:
    rows = [line for line in GUIDE.read_text().splitlines() if f"`{reason}`" in line and line.startswith("|")]
    (remedy,) = (remedies[reason] for remedies in REMEDIES.values() if reason in remedies)
    assert remedy.text
    assert any(remedy.text in row for row in rows)


def test_guide_has_every_section() -> None:
    text = GUIDE.read_text()
    assert all(f"<!-- reasons: {section.name}, generated -->" in text for section in Section)
    assert filled(text) == text
    assert all(text in GUIDE.read_text() for text in IN_ROLLOUTS.values())


@pytest.mark.parametrize("role", Role)
def test_guide_has_every_role_and_its_meaning(role: Role) -> None:
    assert f"| `{role}` | {ROLES[role]} |" in GUIDE.read_text()


def test_reason_of_newer_operator_reads_as_failed() -> None:
    assert Reason("Teleported") is Reason.FAILED
