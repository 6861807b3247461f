"""`spec.traffic` and what a canary does with requests: gateway, matches, mirror."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from sluicegate.api.fields import ApiType, DnsLabel, ObjectName, Percent, RequestDuration, Rule, doc, text


class ParentRef(ApiType, frozen=True):
    """A Gateway (or one of its listeners) that the route attaches to."""

    name: Annotated[ObjectName, doc("Name of the Gateway.")]
    namespace: Annotated[DnsLabel | None, doc("Its namespace. Default: the ModelDeployment's.")] = None
    section_name: Annotated[
        ObjectName | None, doc("One listener of the Gateway. Default: every listener that lets the route in.")
    ] = None
    port: Annotated[Annotated[int, Meta(ge=1, le=65535)] | None, doc("One port of the Gateway. Default: any.")] = None


Hostname = Annotated[
    str,
    text(
        r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "must be a host name in lower case, without scheme, port or path, such as models.example.com or *.example.com",
        253,
    ),
]


_PATH = text(
    r"^(/|(/[-A-Za-z0-9_.~%]+)+)$",
    "must be a path that starts with '/' and does not end with one, of letters, digits and -_.~%, such as /team/churn",
    1024,
    (Rule("!self.matches('(^|/)[.]{1,2}(/|$)')", "must not have the path segments '.' or '..'"),),
)


class GatewaySpec(ApiType, frozen=True):
    """Where requests come in from outside."""

    parent_refs: Annotated[
        Annotated[tuple[ParentRef, ...], Meta(min_length=1, max_length=8)] | None,
        doc(
            "Gateways to attach to, at most 8. Default: the platform's. With none anywhere there is no route, only the in-cluster Service."
        ),
    ] = None
    hostnames: Annotated[
        Annotated[tuple[Hostname, ...], Meta(max_length=16)] | None,
        doc("Host names to answer for, at most 16, such as models.example.com. Default: all that the Gateway has."),
    ] = None
    path_prefix: Annotated[
        Annotated[str, _PATH] | None,
        doc(
            "Path in front of the model's own paths, such as /team/churn, taken off before the request reaches the pod. Default: /NAMESPACE/NAME."
        ),
    ] = None


class TrafficSpec(ApiType, frozen=True):
    """How clients reach the model."""

    gateway: Annotated[
        GatewaySpec, doc("The route from outside, through the Gateway API. Default: the platform's gateway.")
    ] = GatewaySpec()
    timeout: Annotated[RequestDuration, doc("Longest time one request may take, such as 60s. Default: 60s.")] = "60s"


class Header(ApiType, frozen=True):
    """A request header and the value it must have."""

    name: Annotated[
        str,
        text(r"^[A-Za-z0-9!#$%&'*+.^_|~-]+$", "must be the name of a request header, such as x-cohort", 256),
        doc("Name of the header, such as x-cohort; case does not matter."),
    ]
    value: Annotated[str, Meta(min_length=1, max_length=4096), doc("Value to compare with, 1 to 4096 characters.")]
    type: Annotated[Literal["Exact", "RegularExpression"] | None, doc("How the value compares. Default: Exact.")] = None


class HeaderMatch(ApiType, frozen=True):
    """One condition on a request."""

    header: Annotated[Header, doc("The header that the request must have.")]


HeaderMatches = Annotated[tuple[HeaderMatch, ...], Meta(max_length=8)]


class MirrorSpec(ApiType, frozen=True):
    """Copies of requests, whose answers are discarded."""

    percent: Annotated[Percent, doc("Percent of the requests that are copied, 0 to 100. Default: 100.")] = 100
