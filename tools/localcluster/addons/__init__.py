"""Addons, which run beside the control plane. Each addon is one module.

A new addon is a module with one `Addon` value, and an entry in `ALL`.
"""

from __future__ import annotations

from tools.localcluster.addons.argocd import argocd
from tools.localcluster.addons.base import Addon
from tools.localcluster.addons.dns import dns
from tools.localcluster.addons.envoy_gateway import envoy_gateway
from tools.localcluster.addons.gateway_crds import gateway_crds
from tools.localcluster.addons.kwok import kwok
from tools.localcluster.addons.metrics import metrics
from tools.localcluster.addons.s3 import s3
from tools.localcluster.addons.traefik import traefik
from tools.localcluster.errors import ClusterError

# in the order in which they start
ALL: dict[str, Addon] = {a.name: a for a in (gateway_crds, dns, metrics, traefik, envoy_gateway, s3, argocd, kwok)}
DEFAULT = {"node": ("gateway-crds", "dns", "metrics", "traefik"), "control-plane": ()}


def choose(names: tuple[str, ...] | None, profile: str) -> list[Addon]:
    """Return the addons of these names and the addons they need, in start order.

    If `names` is None, the names are the profile's default set.

    Raises:
        ClusterError: An addon does not exist, or needs a node that the profile does not have.
    """
    wanted = set(DEFAULT[profile] if names is None else names)
    if unknown := wanted - set(ALL):
        raise ClusterError(f"There is no addon {', '.join(sorted(unknown))}; there are: {', '.join(ALL)}.")
    while more := {n for w in wanted for n in ALL[w].needs} - wanted:
        wanted |= more
    chosen = [a for a in ALL.values() if a.name in wanted]
    if profile != "node" and (bad := [a.name for a in chosen if a.on_node]):
        raise ClusterError(f"The {profile} profile has no node for {', '.join(bad)}.")
    return chosen


__all__ = ["ALL", "DEFAULT", "Addon", "choose"]
