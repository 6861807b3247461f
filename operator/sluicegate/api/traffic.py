"""`spec.traffic`, and what a canary or a step does with requests: matches and mirrors."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from sluicegate.api.fields import ApiType, DnsLabel, ObjectName, Percent, RequestDuration, Rule, doc, text


class ParentRef(ApiType, frozen=True):
    """A Gateway, or one of its listeners, that the route attaches to."""

    name: Annotated[ObjectName, doc("Name of the Gateway.")]
    namespace: Annotated[
        DnsLabel | None, doc("Namespace of the Gateway. Default: the ModelDeployment's namespace.")
    ] = None
    section_name: Annotated[
        ObjectName | None, doc("Name of one listener of the Gateway. Default: every listener that allows the route.")
    ] = None
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None, doc("Port of the Gateway, from 1 to 65535. Default: any port.")
    ] = None


Hostname = Annotated[
    str,
    text(
        r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "must be a host name in lower case, without scheme, port or path, such as models.example.com or *.example.com",
        253,
    ),
]


_PATH = text(
    r"^(/|(/([-A-Za-z0-9_.~]|%[0-9A-Fa-f]{2})+)+)$",
    "must be a path that starts with '/' and does not end with one, of letters, digits, -_.~ and escapes such as %20, "
    "such as /team/churn",
    1024,
    (
        Rule("!self.matches('(^|/)[.]{1,2}(/|$)')", "must not have the path segments '.' or '..'"),
        Rule("!self.matches('%2[Ff]')", "must not have %2F: HTTPRoutes do not allow an escaped '/'"),
    ),
)


class GatewaySpec(ApiType, frozen=True):
    """The route for requests from outside the cluster."""

    RULES: ClassVar = (
        Rule(
            "!has(self.parentRefs) || self.parentRefs.all(a, self.parentRefs.exists_one(b, a.name == b.name && "
            "(has(a.__namespace__) ? has(b.__namespace__) && a.__namespace__ == b.__namespace__ : "
            "!has(b.__namespace__)) && (!has(a.sectionName) || !has(b.sectionName) || "
            "a.sectionName == b.sectionName)))",
            "parentRefs names one Gateway twice: set a different sectionName in each entry, or remove one",
            ".parentRefs",
        ),
    )

    parent_refs: Annotated[
        Annotated[tuple[ParentRef, ...], Meta(min_length=1, max_length=8)] | None,
        doc(
            "Gateways to attach the route to, 1 to 8. Without any Gateway, here or in the platform's settings, "
            "there is no route but only the Service in the cluster. Default: the platform's Gateways."
        ),
    ] = None
    hostnames: Annotated[
        Annotated[tuple[Hostname, ...], Meta(max_length=16)] | None,
        doc("Host names of the route, at most 16, such as models.example.com. Default: all host names of the Gateway."),
    ] = None
    path_prefix: Annotated[
        Annotated[str, _PATH] | None,
        doc(
            "Path prefix of the route, such as /team/churn. The gateway removes the prefix before it forwards "
            "a request to the pod. Default: /NAMESPACE/NAME."
        ),
    ] = None


class TrafficSpec(ApiType, frozen=True):
    """How clients reach the model."""

    gateway: Annotated[
        GatewaySpec, doc("Route from outside the cluster, through the Gateway API. Default: the platform's gateway.")
    ] = GatewaySpec()
    timeout: Annotated[RequestDuration, doc("Maximum time for one request, such as 60s. Default: 60s.")] = "60s"


class Header(ApiType, frozen=True):
    """A request header and the value that it must have."""

    name: Annotated[
        str,
        text(r"^[A-Za-z0-9!#$%&'*+.^_|~-]+$", "must be the name of a request header, such as x-cohort", 256),
        doc("Name of the header, such as x-cohort. Case-insensitive."),
    ]
    value: Annotated[
        str, Meta(min_length=1, max_length=4096), doc("Value to compare the header with, 1 to 4096 characters.")
    ]
    type: Annotated[Literal["Exact", "RegularExpression"] | None, doc("How to compare the value. Default: Exact.")] = (
        None
    )


class HeaderMatch(ApiType, frozen=True):
    """A condition that a request must meet."""

    header: Annotated[Header, doc("Header that the request must have.")]


MATCH_LIMIT = 7
"""The largest number of matches.

The Gateway API allows 16 rules in an HTTPRoute. Each match needs a rule of its own, because a rule that replaces the
path prefix may have only one match. During a change of the path prefix, the route has all rules twice.
"""

HeaderMatches = Annotated[tuple[HeaderMatch, ...], Meta(max_length=MATCH_LIMIT)]


class MirrorSpec(ApiType, frozen=True):
    """Copies of requests whose responses are discarded."""

    percent: Annotated[Percent, doc("Percent of the requests to copy, from 0 to 100. Default: 100.")] = 100
