"""CoreDNS on the node's address, reached through the Service kube-dns.

CoreDNS responds at once that names outside the cluster do not exist, because nothing outside is reachable anyway.
The only exception is `host.sluicegate.internal`, the machine on which the cluster runs.
"""

from __future__ import annotations

import urllib.request

from tools.localcluster.addons.base import Addon, apply, daemon, node_service
from tools.localcluster.cluster import Cluster
from tools.localcluster.tools import go_tool

_coredns = go_tool("coredns", "v1.14.2", "./coredns", "kubernetes")
_READY_PORT = 8181


def _begin(cluster: Cluster) -> None:
    spec = cluster.spec
    corefile = cluster.state / "Corefile"
    # `kubernetes`, `hosts` and `template` have separate zones. Within one zone, CoreDNS calls the plugins in its own
    # order, and `template` before the others.
    corefile.write_text(f"""cluster.local in-addr.arpa {{
    bind {spec.node_ip}
    errors
    ready {spec.node_ip}:{_READY_PORT}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {cluster.state}/addon.conf
        pods insecure
        ttl 5
    }}
}}
host.sluicegate.internal {{
    bind {spec.node_ip}
    hosts {{
        {spec.host_ip} host.sluicegate.internal
    }}
}}
. {{
    bind {spec.node_ip}
    template ANY ANY {{
        rcode NXDOMAIN
        authority ". 60 IN SOA sluicegate.internal. sluicegate.internal. 1 60 60 60 60"
    }}
}}
""")
    ports = [("dns", "UDP", 53, 53), ("dns-tcp", "TCP", 53, 53)]
    apply(cluster, *node_service(cluster, "kube-system", "kube-dns", ports, spec.service_ip(10)))
    daemon(cluster, "dns", [_coredns.bin(), "-conf", str(corefile)])


def _ready(cluster: Cluster) -> bool:
    url = f"http://{cluster.node_ip}:{_READY_PORT}/ready"
    with urllib.request.urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)


dns = Addon("dns", (_coredns,), _begin, _ready)
