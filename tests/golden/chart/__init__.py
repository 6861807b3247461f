"""The expected manifests of the chart, which are reviewed like code.

`python -m tests.golden` writes the files again. It needs Helm, and builds it where it is missing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools.localcluster import tools
from tools.localcluster.shell import run

HERE = Path(__file__).parent
CHART = HERE.parents[2] / "charts/sluicegate"


def cases() -> Iterator[Path]:
    """Return the inputs, which are files of chart values."""
    yield from sorted(HERE.glob("*.values.yaml"))


def helm(*args: object) -> str:
    """Run Helm without a cluster.

    Raises:
        ClusterError: Helm failed. The error has Helm's own message.
    """
    tools.ensure_one(tools.helm)
    return run([tools.helm.bin(), *args], timeout=120)


def template(*args: object) -> list[dict[str, Any]]:
    """Return the manifests that `helm template` renders with these options.

    The release is `sluicegate` in the namespace `sluicegate-system`.
    """
    text = helm("template", "sluicegate", CHART, "--namespace", "sluicegate-system", *args)
    return [document for document in yaml.safe_load_all(text) if document]


def rendered(case: Path) -> str:
    """Return the manifests of a case without the CRD.

    The CRD is a golden file of its own (crds/).
    """
    found = [each for each in template("--values", case) if each["kind"] != "CustomResourceDefinition"]
    found.sort(key=lambda each: (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]))
    text: str = yaml.safe_dump_all(found, sort_keys=False, explicit_start=True, width=120)
    return text


def expected(case: Path) -> Path:
    """Return the path of a case's golden file."""
    return case.with_name(case.name.replace(".values", ""))
