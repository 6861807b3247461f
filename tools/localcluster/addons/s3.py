"""A real S3 server: versitygw on top of a folder.

Its address is `s3.s3-system.svc:7070` in the cluster, and http://NODE:7070 on the host.
The credentials are fixed. The file `s3.env` in the state folder contains them.
"""

from __future__ import annotations

import socket

from tools.localcluster.addons.base import Addon, apply, daemon, namespace, node_service
from tools.localcluster.cluster import Cluster
from tools.localcluster.tools import go_tool

_gateway = go_tool("versitygw", "v1.8.0", "github.com/versity/versitygw/cmd/versitygw")
PORT = 7070
ACCESS_KEY = "sluicegate"
SECRET_KEY = "sluicegate-test-only"


def _begin(cluster: Cluster) -> None:
    data = cluster.state / "s3"
    data.mkdir(exist_ok=True)
    (cluster.state / "s3.env").write_text(
        f"AWS_ACCESS_KEY_ID={ACCESS_KEY}\nAWS_SECRET_ACCESS_KEY={SECRET_KEY}\nAWS_REGION=us-east-1\n"
        f"AWS_ENDPOINT_URL=http://{cluster.node_ip}:{PORT}\n"
    )
    env = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    daemon(cluster, "s3", [_gateway.bin(), "--port", f"{cluster.node_ip}:{PORT}", "posix", str(data)], env)
    ports = [("s3", "TCP", PORT, PORT)]
    apply(cluster, namespace("s3-system"), *node_service(cluster, "s3-system", "s3", ports))


def _ready(cluster: Cluster) -> bool:
    with socket.create_connection((cluster.node_ip, PORT), timeout=1):
        return True


s3 = Addon("s3", (_gateway,), _begin, _ready)
