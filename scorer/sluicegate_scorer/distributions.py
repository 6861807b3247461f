"""What is installed, by what Python can import and not only by the name of a distribution.

The same packages come in distributions of several names: `psycopg2` and `psycopg2-binary`, `faiss-cpu` and `faiss-gpu`,
`tensorflow` and `tensorflow-macos`. Others have no metadata at all, such as a folder on PYTHONPATH.
"""

import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass

_VARIANT = re.compile(
    r"-(?:bin|binary|contrib|cpu|cu\d+|cuda\d*x?|directml|gpu|headless|intel|lts|macos|nightly|rocm|silicon|simd|skinny)"
    r"(?=-|$)"
)
"""Words in the name of a distribution that say for which machine or how it was built, and not what it has."""


@dataclass(frozen=True)
class Found:
    """A distribution that provides what another one was asked for.

    Attributes:
        name: its normalized name, empty if the packages have no metadata.
        version: its version, empty if unknown.
    """

    name: str
    version: str


def normal(name: str) -> str:
    """Return the normalized name of a distribution."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find(name: str) -> Found | None:
    """Return the distribution that provides what the one with this name does, or None if nothing does.

    The distribution itself comes first, then a variant of it, then the one that has a module of this name. A module
    without metadata comes last.
    """
    name = normal(name)
    try:
        return Found(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        pass
    stem = _VARIANT.sub("", name)
    for other, version in sorted(_versions().items()):
        if _VARIANT.sub("", other) == stem:
            return Found(other, version)
    for module in dict.fromkeys((name.replace("-", "_"), stem.replace("-", "_"))):
        providers = {normal(provider) for provider in _providers().get(module, ())}
        if len(providers) == 1:  # several share a namespace, and each has another part of it
            return Found(provider := providers.pop(), _versions().get(provider, ""))
        if not providers and _importable(module):
            return Found("", "")
    return None


def modules(name: str) -> set[str]:
    """Return the modules of an installed distribution, or a guess from its name."""
    name = normal(name)
    provided = {module for module, names in _providers().items() if name in map(normal, names)}
    return provided or {name.replace("-", "_")}


@functools.cache
def _versions() -> Mapping[str, str]:
    return {
        normal(distribution.name): distribution.version
        for distribution in importlib.metadata.distributions()
        if distribution.name
    }


@functools.cache
def _providers() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _importable(module: str) -> bool:
    """Tell whether Python finds a module. An empty folder of that name is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None
