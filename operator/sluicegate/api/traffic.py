"""`spec.traffic` and what a canary does with requests: gateway, matches, mirror."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from sluicegate.api.fields import ApiType, Duration, ObjectName, Percent, Rule, doc


class ParentRef(ApiType):
    """A Gateway (or one of its listeners) that the route attaches to."""

    name: Annotated[ObjectName, doc("Name of the Gateway.")]
    namespace: Annotated[ObjectName | None, doc("Its namespace. Default: the ModelDeployment's.")] = None
    section_name: Annotated[ObjectName | None, doc("One listener of the Gateway. Default: every listener that lets the route in.")] = None
    port: Annotated[Annotated[int, Meta(ge=1, le=65535)] | None, doc("One port of the Gateway. Default: any.")] = None


Hostname = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")]


class GatewaySpec(ApiType):
    """Where requests come in from outside."""

    parent_refs: Annotated[
        Annotated[tuple[ParentRef, ...], Meta(min_length=1, max_length=8)] | None,
        doc("Gateways to attach to, at most 8. Default: the platform's. With none anywhere there is no route, only the in-cluster Service."),
    ] = None
    hostnames: Annotated[Annotated[tuple[Hostname, ...], Meta(max_length=16)] | None, doc("Host names to answer for, at most 16. Default: all that the Gateway has.")] = None
    path_prefix: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^/[-A-Za-z0-9_.~/%]*$")] | None,
        doc("Path in front of the model's own paths, taken off before the request reaches the pod. Default: /NAMESPACE/NAME."),
    ] = None


class TrafficSpec(ApiType):
    """How clients reach the model."""

    gateway: Annotated[GatewaySpec, doc("The route from outside, through the Gateway API.")] = GatewaySpec()
    timeout: Annotated[Duration, doc("Longest time one request may take, such as 60s. Default: 60s.")] = "60s"


class Header(ApiType):
    """A request header and the value it must have."""

    name: Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_|~]+$"), doc("Name of the header; case does not matter.")]
    value: Annotated[str, Meta(min_length=1, max_length=4096), doc("Value to compare with.")]
    type: Annotated[Literal["Exact", "RegularExpression"] | None, doc("How the value compares. Default: Exact.")] = None


class HeaderMatch(ApiType):
    """One condition on a request."""

    header: Annotated[Header, doc("The header that the request must have.")]


HeaderMatches = Annotated[tuple[HeaderMatch, ...], Meta(max_length=8)]


class MirrorSpec(ApiType):
    """Copies of requests, whose answers are discarded."""

    RULES: ClassVar[tuple[Rule, ...]] = ()

    percent: Annotated[Percent, doc("Percent of the requests that are copied, 0 to 100. Default: 100.")] = 100
