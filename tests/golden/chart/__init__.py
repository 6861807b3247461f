"""What the chart renders to, reviewed like code; `python -m tests.golden` writes the files again. Needs Helm, which is built where it is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools.localcluster import tools
from tools.localcluster.shell import run

HERE = Path(__file__).parent
CHART = HERE.parents[2] / "charts/sluicegate"


def cases() -> Iterator[Path]:
    """The inputs: files of values."""
    yield from sorted(HERE.glob("*.values.yaml"))


def helm(*args: object) -> str:
    """Runs Helm without a cluster.

    Raises:
        ClusterError: with Helm's own words, where it refuses.
    """
    tools.ensure_one(tools.helm)
    return run([tools.helm.bin(), *args], timeout=120)


def template(*args: object) -> list[dict[str, Any]]:
    """The manifests of a release `sluicegate` in `sluicegate-system`, with these options of `helm template`."""
    text = helm("template", "sluicegate", CHART, "--namespace", "sluicegate-system", *args)
    return [each for each in yaml.safe_load_all(text) if each]


def rendered(case: Path) -> str:
    """The manifests of a case, but for the CRD, which is a golden file of its own (crds/)."""
    found = [each for each in template("--values", case) if each["kind"] != "CustomResourceDefinition"]
    found.sort(key=lambda each: (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]))
    text: str = yaml.safe_dump_all(found, sort_keys=False, explicit_start=True, width=120)
    return text


def expected(case: Path) -> Path:
    """The golden file of a case."""
    return case.with_name(case.name.replace(".values", ""))
