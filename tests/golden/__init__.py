"""The expected manifests of every example, which are reviewed like code.

`python -m tests.golden` writes the files again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from sluicegate.cli.commands.render import render
from sluicegate.cli.validation.documents import read
from sluicegate.config.settings import Settings, build

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
RUNTIME = (
    "name: model\nports: [{name: http, containerPort: 8080}]\nenv: [{name: MODEL_PATH, value: {{ model_path }}}]\n"
)
SETTINGS: dict[str, Any] = {
    "scorerImage": "example/scorer:1",
    "registries": {"default": {"trackingUri": "http://mlflow.example:5000", "podSecret": "mlflow", "env": {"A": "b"}}},
    "runtimes": {"mlserver": {"image": "example/mlserver:1"}, "own": {"image": "example/own:1", "template": RUNTIME}},
}


def settings(case: Path) -> Settings:
    """Return fixed settings, and over them those in the file of the case's name under settings/.

    A release changes the default image, and must not change a golden file.
    """
    own = HERE / "settings" / case.name
    layers = [("golden", SETTINGS)]
    return build([*layers, (own.name, yaml.safe_load(own.read_text()))] if own.exists() else layers)


def cases() -> Iterator[Path]:
    """Return the inputs: every example, and the cases that no example shows."""
    yield from sorted(EXAMPLES.glob("*.yaml"))
    yield from sorted((HERE / "cases").glob("*.yaml"))


def rendered(case: Path) -> str:
    """Return the children of the case's resources as YAML."""
    answers = {str(document["spec"]["model"]["uri"]): "3" for document in read(str(case))}
    manifests = [each for document in read(str(case)) for each in render(document, settings(case), answers)]
    text: str = yaml.safe_dump_all(manifests, sort_keys=False, explicit_start=True, width=120)
    return text


def expected(case: Path) -> Path:
    """Return the path of a case's golden file."""
    return HERE / "expected" / case.name
