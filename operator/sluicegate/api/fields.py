"""Building blocks of the typed API: constrained scalars and the base of every type.

A constraint is written once, as msgspec metadata. Decoding checks it, and the CRD generator turns it into schema.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
from msgspec import Meta


class Rule(NamedTuple):
    """A CEL validation of a type.

    The API server rejects an object for which `expression` is false, with `message`.
    """

    expression: str
    message: str
    field: str = ""
    """Path below `self` to report, such as `.weight`. Empty for the object itself."""


class ApiType(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all API types: immutable, camelCase on the wire, with defaults for absent fields.

    Decoding ignores unknown fields. The API server has pruned them already, and an older operator must be able to read
    an object that a newer CRD accepted.
    """

    RULES: ClassVar[tuple[Rule, ...]] = ()


def doc(text: str) -> Meta:
    """Return metadata with the description of a field, as `kubectl explain` prints it."""
    return Meta(description=text)


MESSAGE = "x-message"
"""Key in a Meta's extra schema for the message that belongs to a pattern. See `text`."""

RULES = "x-rules"
"""Key in a Meta's extra schema for the CEL rules of a type that is not an ApiType."""


def text(pattern: str, message: str, max_length: int, rules: tuple[Rule, ...] = ()) -> Meta:
    r"""Return metadata for a string that must match `pattern`.

    The CRD expresses `pattern` as a CEL rule rather than as a schema's pattern. For the latter, the API server's error
    shows the regular expression, which does not tell users what to write. Use only what RE2, Rust and Python interpret
    alike: ASCII classes instead of `\s` or `\d`, no look-around.
    """
    return Meta(pattern=pattern, max_length=max_length, extra_json_schema={MESSAGE: message, RULES: rules})


# JSON Schema cannot express these types, so api/schema.py uses these schemas as they are.
INT_OR_STRING = {
    "x-kubernetes-int-or-string": True,
    RULES: (
        Rule(
            "type(self) == int ? self >= 0 : isQuantity(self) && !self.startsWith('-')",
            "must be a quantity that is not negative, such as 2, 500m or 4Gi",
        ),
    ),
}
ANY_OBJECT = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

DURATION_PATTERN = r"^([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,7}s)?([0-9]{1,7}ms)?$"
_DURATION_MESSAGE = (
    "must be a duration such as 90s or 1h30m: whole numbers with the units d, h, m, s or ms, largest unit first"
)
_NOT_EMPTY = Rule("size(self) > 0", _DURATION_MESSAGE)
_NOT_ZERO = Rule("self == '' || self.matches('[1-9]')", "must be longer than zero, such as 90s")
Duration = Annotated[str, text(DURATION_PATTERN, _DURATION_MESSAGE, 32, (_NOT_EMPTY,))]
"""A duration such as `90s`, `5m`, `1h30m` or `7d`."""

PositiveDuration = Annotated[str, text(DURATION_PATTERN, _DURATION_MESSAGE, 32, (_NOT_EMPTY, _NOT_ZERO))]
"""A duration above zero."""

GATEWAY_LIMIT = Rule(
    "!self.matches('[0-9]{4}d|[0-9]{5}h')",
    "must be at most 999d and 9999h, the limit of the Gateway API: use a shorter time such as 1h",
)
RequestDuration = Annotated[str, text(DURATION_PATTERN, _DURATION_MESSAGE, 32, (_NOT_EMPTY, _NOT_ZERO, GATEWAY_LIMIT))]
"""A duration above zero that the Gateway API can express. It has no days, and at most five digits for hours."""

Quantity = Annotated[
    int | str,
    Meta(extra_json_schema=INT_OR_STRING),
]
"""A Kubernetes quantity such as `2`, `500m` or `4Gi`."""

FreeObject = Annotated[dict[str, Any], Meta(extra_json_schema=ANY_OBJECT)]
"""An object of another API. It is kept as written, and checked where it is used."""

ObjectName = Annotated[
    str,
    text(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "must be the name of a Kubernetes object: lower-case letters, digits, '-' and '.', beginning and ending "
        "with a letter or digit",
        253,
    ),
]
DnsLabel = Annotated[
    str,
    text(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "must be lower-case letters, digits and '-', beginning and ending with a letter or digit",
        63,
    ),
]
"""A name without dots, such as that of a namespace, a registry or a runtime."""

LabelValue = Annotated[
    str,
    text(
        r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        "must be a label value: letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
        63,
    ),
]
HttpUrl = Annotated[
    str,
    text(
        r"^https?://[^ \t\r\n@/?#]+([/?#][^ \t\r\n@]*)?$",
        "must be a URL that starts with http:// or https:// and contains no user name or password (use a "
        "Secret for them)",
        1024,
    ),
]
ImageName = Annotated[
    str,
    text(
        r"^[^ \t\r\n]+$",
        "must be the name of a container image, without spaces, such as registry.example.com/team/model:1.2",
        1024,
    ),
]
Line = Annotated[str, Meta(max_length=4096)]
"""Text in a status.

The limit is far above the length of any text that the operator writes. The API server would reject a longer one.
"""

Percent = Annotated[int, Meta(ge=0, le=100)]
