"""`python -m tools.docsgen` writes every generated file.

With `--check` it shows what differs and writes nothing. The files are the CRD (also as the chart ships it),
docs/reference, and the chart's schema of values.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sluicegate.api import crd
from sluicegate.api.spec import ModelDeploymentSpec
from sluicegate.api.status import ModelDeploymentStatus

from tools.docsgen import api, reasons, reference
from tools.docsgen.chart_values import schema_file

REPOSITORY: Final = Path(__file__).resolve().parents[2]
STATUS_GUIDE: Final = "docs/guide/status.md"
GENERATED: Final[Mapping[str, Callable[[], str]]] = {
    crd.CRD_FILE: lambda: crd.text(crd.crd()),
    crd.CHART_FILE: lambda: crd.text(crd.chart_crd()),
    "charts/sluicegate/values.schema.json": schema_file,
    "docs/reference/api.md": lambda: api.reference((ModelDeploymentSpec, ModelDeploymentStatus)),
    "docs/reference/settings.md": reference.settings_page,
    "docs/reference/metrics.md": reference.metrics_page,
    "docs/reference/chart.md": reference.chart_page,
    STATUS_GUIDE: lambda: reasons.filled((REPOSITORY / STATUS_GUIDE).read_text(encoding="utf-8")),
}
"""The path of each generated file below the repository's root, and the function that returns its text."""


def drift(root: Path) -> str:
    """Compare the generated files below `root` with their expected text.

    Returns:
        A unified diff, empty if nothing differs.
    """
    lines: list[str] = []
    for name, make in GENERATED.items():
        path = root / name
        present = path.read_text(encoding="utf-8") if path.exists() else ""
        lines += difflib.unified_diff(
            present.splitlines(keepends=True), make().splitlines(keepends=True), name, f"{name} (generated)"
        )
    return "".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Write the generated files. With `--check`, print the difference instead and return 1 where there is one."""
    parser = argparse.ArgumentParser(prog="python -m tools.docsgen", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="show what differs and write nothing")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="the repository (default: this one)")
    options = parser.parse_args(arguments)
    if options.check:
        difference = drift(options.root)
        if difference:
            sys.stdout.write(difference)
            print("Generated files are out of date. Run: make generate", file=sys.stderr)
        return 1 if difference else 0
    for name, make in GENERATED.items():
        path = options.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
