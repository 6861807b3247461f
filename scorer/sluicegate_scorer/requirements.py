"""A comparison of the model's requirements with what is installed.

It runs before the model is loaded. Otherwise a missing package would show as an ImportError from deep inside a library,
or only at the first request that needs it.
"""

import logging
import platform
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from sluicegate_scorer import distributions
from sluicegate_scorer.errors import Reason, ScorerError, redact

log = logging.getLogger("sluicegate_scorer.requirements")

_MLFLOW = ("mlflow", "mlflow-skinny")
_MAX_LISTED = 8
_MAX_EXPLAINED = 3
_FRAMES = 5
"""Innermost frames of an exception whose packages may explain it."""


class Check(StrEnum):
    """The policy for differences."""

    WARN = "warn"
    """Log every difference, and serve."""
    MISSING = "missing"
    """Refuse a model if a package is missing, and log other versions. This is the default."""
    REFUSE = "refuse"
    """Refuse any difference."""


@dataclass(frozen=True)
class Difference:
    """One requirement that this environment does not meet.

    Attributes:
        requirement: the requirement, as the model states it.
        installed: the installed version, after the name of the distribution if that is another one. None if there is
            none.
    """

    requirement: str
    installed: str | None

    def __str__(self) -> str:
        return f"{self.requirement} ({f'installed: {self.installed}' if self.installed else 'missing'})"


def check(model: Path, policy: Check, *, installed: bool = False) -> None:
    """Compare the model's requirements with what is installed.

    Every difference is logged.

    Args:
        model: the model's directory.
        policy: the policy for differences.
        installed: whether this environment was made for the model. It then has the server's version of MLflow, which is
            no reason to refuse the model.

    Raises:
        ScorerError: if `policy` refuses a difference. The message names the first ones.
    """
    unmet = differences(model)
    refused = [
        difference
        for difference in unmet
        if policy is Check.REFUSE or (policy is Check.MISSING and difference.installed is None)
    ]
    refused = [difference for difference in refused if not (installed and is_mlflow(difference.requirement))]
    for difference in unmet:
        log.warning("the model requires %s", difference)
    if not refused:
        return
    more = f" and {len(refused) - _MAX_LISTED} more" if len(refused) > _MAX_LISTED else ""
    raise ScorerError(
        f"the image does not meet the model's requirements: {', '.join(map(str, refused[:_MAX_LISTED]))}{more}. "
        "Set spec.runtime.image to an image that meets them, spec.runtime.dependencies: Install, or "
        "SLUICEGATE_DEPENDENCIES=warn in spec.runtime.env",
        Reason.DEPENDENCY_MISSING,
    )


def differences(model: Path) -> list[Difference]:
    """Return the requirements of the model that this environment does not meet.

    They come from `requirements.txt` and `python_env.yaml`, or from `conda.yaml` if those do not exist.

    Options, URLs and local paths in a requirements file are skipped, because this check cannot tell whether they are
    met.
    """
    python, lines = stated_requirements(model)
    unmet = [difference for difference in (_python(python), *map(_requirement, lines)) if difference is not None]
    return list(dict.fromkeys(unmet))


def python_difference(model: Path) -> Difference | None:
    """Return the Python version that the model requires, if this environment has another one."""
    return _python(stated_requirements(model)[0])


def explanation(model: Path, error: BaseException | None) -> str | None:
    """Return the differences that may explain why a model fails.

    These are another version of Python, on which pickles depend, and other versions of the packages in which the
    exception was raised or which its message names.

    Args:
        model: the model's directory.
        error: the exception, or None if it is not known.

    Returns:
        A sentence for a message, without its period. None if no difference explains the failure.
    """
    concerned = set(_packages(error)) if error is not None else set()
    unmet = [
        difference
        for difference in differences(model)
        if difference.requirement.startswith("python ")
        or (not is_mlflow(difference.requirement) and concerned & distributions.modules(_name(difference.requirement)))
    ]
    if not unmet:
        return None
    return f"The model requires {', '.join(map(str, unmet[:_MAX_EXPLAINED]))}"


def _packages(error: BaseException) -> Iterator[str]:
    """Yield the packages of the innermost frames of an exception and its causes, and those that its message names."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        frames = list(traceback.walk_tb(cause.__traceback__))[-_FRAMES:]
        yield from (str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame, _ in frames)
        yield from re.findall(r"\b([A-Za-z_]\w*)(?=\.[A-Za-z_]|')", str(cause))
        cause = cause.__cause__ or cause.__context__


def stated_requirements(model: Path) -> tuple[str | None, list[str]]:
    """Return the Python version and the lines of requirements that the model states."""
    python, pip = _conda(model / "conda.yaml")
    environment = _yaml(model / "python_env.yaml")
    if isinstance(environment, dict) and environment.get("python"):
        python = str(environment["python"])
    try:
        text = (model / "requirements.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return python, pip
    return python, text.replace("\\\n", " ").splitlines()


def is_mlflow(line: str) -> bool:
    """Tell whether a requirement is MLflow itself, in one of its distributions."""
    return distributions.normal(_name(line)) in _MLFLOW


def _name(line: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", line.strip(), maxsplit=1)[0]


def _conda(path: Path) -> tuple[str | None, list[str]]:
    document = _yaml(path)
    listed = document.get("dependencies") if isinstance(document, dict) else None
    python, pip = None, []
    for dependency in listed if isinstance(listed, list) else []:
        if isinstance(dependency, dict):
            pip += [str(line) for line in dependency.get("pip") or []]
        elif match := re.fullmatch(r"python\s*=+\s*([\d.]+)\S*", str(dependency)):
            python = match.group(1)
    return python, pip


def _yaml(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        # MLflow reads these files only to make an environment, so a model with a broken one can still be served
        return None


def _python(stated: str | None) -> Difference | None:
    """Compare the Python version with that of this environment.

    Only the major and minor version count, because pickles and wheels depend on those.
    """
    installed = platform.python_version()
    if stated is None or stated.split(".")[:2] == installed.split(".")[: len(stated.split(".")[:2])]:
        return None
    return Difference(f"python {stated}", installed)


def _requirement(line: str) -> Difference | None:
    text = re.split(r"(?:^|\s)#|\s--", line, maxsplit=1)[0].strip()
    if not text or text.startswith("-"):
        return None
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        log.info("requirement not compared with the installed packages: %s", redact(text))
        return None
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    stated = f"{requirement.name}{requirement.specifier}"
    found = distributions.find(requirement.name)
    if found is None:
        return Difference(stated, None)
    if not found.version or _meets(requirement, found.version):
        return None
    same = found.name == distributions.normal(requirement.name)
    return Difference(stated, found.version if same else f"{found.name} {found.version}")


def _meets(requirement: Requirement, version: str) -> bool:
    """Tell whether the public version of an installed package meets a requirement.

    The local version does not count: without a GPU, `2.3.0+cpu` meets a requirement of `2.3.0+cu121`.
    """
    try:
        public = Version(version).public
    except InvalidVersion:
        return True
    specifier = re.sub(r"\+[A-Za-z0-9.]+", "", str(requirement.specifier))
    return Requirement(f"x{specifier}").specifier.contains(public, prereleases=True)
