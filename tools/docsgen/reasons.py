"""The tables of reasons, causes and roles in docs/guide/status.md, between comments that mark them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sluicegate.api.reasons import Reason
from sluicegate.api.remedies import IN_ROLLOUTS, REMEDIES, ROLES, Remedy, Section
from sluicegate.core.snapshot.pod_faults import CAUSES

_TABLE = re.compile(
    r"(?P<begin><!-- reasons: (?P<section>[A-Z_]+), generated -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)

_CAUSES = re.compile(r"(?P<begin><!-- causes, generated -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
_ROLES = re.compile(r"(?P<begin><!-- roles, generated -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """Return a page with the tables of its marked sections.

    Raises:
        KeyError: A mark names no section.
    """
    page = _ROLES.sub(lambda mark: mark["begin"] + _roles() + mark["end"], page)
    page = _CAUSES.sub(lambda mark: mark["begin"] + _causes() + mark["end"], page)
    return _TABLE.sub(lambda mark: mark["begin"] + _table(Section[mark["section"]]) + mark["end"], page)


def _roles() -> str:
    rows = [f"| `{role}` | {meaning} |" for role, meaning in ROLES.items()]
    return "\n".join(["| role | the revision |", "|---|---|", *rows]) + "\n"


def _causes() -> str:
    rows = []
    for meaning in CAUSES.values():
        reasons = ", ".join(f"`{reason}`" for reason in meaning.reasons) or "none"
        passes = "yes" if meaning.passes else "no"
        rows.append(f"| {meaning.shown} | {meaning.fault} | {passes} | {reasons} | {meaning.remedy} |")
    heading = "| the pod shows | counts against | passes by itself | reason | what to do |"
    return "\n".join([heading, "|---|---|---|---|---|", *rows]) + "\n"


def _table(section: Section) -> str:
    heading = "means" if section in (Section.NO_ACTION, Section.STALE) else "what to do"
    first = "`status.rollout.reason`" if section is Section.ROLLOUT else "reason"
    rows: dict[str, list[str]] = {}
    for reason, remedy in _entries(section):
        also = f" ({remedy.also})" if remedy.also else ""
        rows.setdefault(remedy.text, []).append(f"`{reason}`{also}")
    lines = [f"| {first} | {heading} |", "|---|---|"]
    lines += [f"| {', '.join(names)} | {text} |" for text, names in rows.items()]
    return "\n".join(lines) + "\n"


def _entries(section: Section) -> Iterator[tuple[Reason, Remedy]]:
    if section is Section.ROLLOUT:
        yield from ((reason, Remedy(text)) for reason, text in IN_ROLLOUTS.items())
    yield from REMEDIES[section].items()
