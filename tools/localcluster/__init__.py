"""Real Kubernetes on a bare Debian machine, without Docker.

`up` makes (or finds again) a cluster, `connect` finds a running one, `down` removes every trace of it.
Two profiles: `node` is a whole single node with pods, services, DNS, metrics and a gateway, in a network
namespace of its own (root needed); `control-plane` is etcd, the API server and the controllers only, on
127.0.0.1, for anyone. The package uses the standard library only, so it runs before any venv exists.
"""

from tools.localcluster.cluster import Cluster, connect
from tools.localcluster.errors import ClusterError
from tools.localcluster.lifecycle import down, up

__all__ = ["Cluster", "ClusterError", "connect", "down", "up"]
