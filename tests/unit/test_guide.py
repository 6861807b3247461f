"""The rules that the guide must follow."""

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs/guide"


def test_the_page_for_data_scientists_needs_neither_yaml_nor_kubectl() -> None:
    text = (GUIDE / "data-scientists.md").read_text()
    assert re.findall(r"(?i)ya?ml|kubectl|manifest|\bpods?\b|namespace|\bspec\b", text) == []


@pytest.mark.parametrize("page", sorted(GUIDE.glob("*.md")), ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_page_on_security_names_existing_tests() -> None:
    threats = (GUIDE / "security.md").read_text().split("\n## ")[0]
    rows = [line for line in threats.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for row in rows:
        paths = re.findall(r"`((?:tests|scorer/tests|e2e)/[^`]+)`", row.rsplit(" | ", 1)[1])
        assert paths, row
        assert [path for path in paths if not (GUIDE.parents[1] / path).exists()] == []
