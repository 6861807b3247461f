"""Building blocks of the typed API: constrained scalars and the base of every type.

A constraint is written once, as msgspec metadata: decoding checks it, and the CRD generator turns it into schema.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
from msgspec import Meta


class Rule(NamedTuple):
    """A CEL validation of a type: the API server refuses an object for which `expression` is false, saying `message`."""

    expression: str
    message: str
    field: str = ""
    """Path below `self` to report, such as `.weight`; empty for the object itself."""


class ApiType(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all API types: immutable, camelCase on the wire, absent fields keep their defaults.

    Unknown fields are ignored when decoding: the API server has pruned them already, and an older operator must be able to
    read an object that a newer CRD admitted.
    """

    RULES: ClassVar[tuple[Rule, ...]] = ()


def doc(text: str) -> Meta:
    """The description of a field, as `kubectl explain` prints it."""
    return Meta(description=text)


# A schema of its own where JSON Schema cannot say it: see api/crd.py.
INT_OR_STRING = {"x-kubernetes-int-or-string": True}
ANY_OBJECT = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

DURATION_PATTERN = r"^([0-9]{1,7}(ms|s|m|h|d)){1,5}$"
Duration = Annotated[str, Meta(pattern=DURATION_PATTERN, max_length=32)]
"""A length of time such as `90s`, `5m`, `1h30m` or `7d`."""

Quantity = Annotated[
    int | str,
    Meta(extra_json_schema=INT_OR_STRING),
]
"""A Kubernetes quantity such as `2`, `500m` or `4Gi`."""

FreeObject = Annotated[dict[str, Any], Meta(extra_json_schema=ANY_OBJECT)]
"""An object whose fields are another API's: kept as written, checked where it is used."""

ObjectName = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
LabelMap = Annotated[dict[str, Annotated[str, Meta(max_length=63)]], Meta(max_length=32)]
Percent = Annotated[int, Meta(ge=0, le=100)]
