"""Real Kubernetes on a bare Debian machine, without Docker.

`up` creates a cluster or finds an existing one. `connect` finds a running one. `down` removes every trace of it.
There are two profiles:

- `node` is a complete single-node cluster with pods, Services, DNS, metrics and a gateway. It runs in its own network
  namespace and requires root.
- `control-plane` is only etcd, the API server and the controllers, on 127.0.0.1. Any user can run it.

The package uses only the standard library, so it runs before a virtual environment exists.
"""

from tools.localcluster.cluster import Cluster, connect
from tools.localcluster.errors import ClusterError
from tools.localcluster.lifecycle import down, up

__all__ = ["Cluster", "ClusterError", "connect", "down", "up"]
