"""Install the Debian packages that are missing, and no others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tools.localcluster.errors import ClusterError
from tools.localcluster.shell import locked, run, step

# Each package with a file or command that shows that it is installed.
# A containerd release elsewhere in PATH is sufficient too.
NODE = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ipset": "ipset",
    "socat": "socat",
    "iproute2": "ip",
    "util-linux": "nsenter",
    "mount": "mount",
    "openssl": "openssl",
}
IMAGES = {
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
}
CONTROL_PLANE = {"openssl": "openssl"}

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def _present(sign: str) -> bool:
    if sign.startswith("/"):
        return Path(sign).exists()
    return shutil.which(sign, path=f"{os.environ.get('PATH', '')}:{_SBIN}") is not None


def missing(packages: dict[str, str]) -> list[str]:
    """Return the packages whose file or command is not on this machine."""
    return [name for name, sign in packages.items() if not _present(sign)]


def ensure(packages: dict[str, str]) -> None:
    """Install the packages that are missing.

    The package lists are updated only if the installation fails without an update.
    Some packages bring system services, such as that of containerd.
    RUNLEVEL=1 is meant to keep them from starting, because the cluster runs its own.
    """
    wanted = missing(packages)
    if not wanted:
        return
    if os.geteuid() != 0:
        raise ClusterError(f"These Debian packages are missing, and only root can install them: {' '.join(wanted)}.")
    if shutil.which("apt-get") is None:
        raise ClusterError(f"This is no Debian: install these by hand: {', '.join(wanted)}.")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = [
        "apt-get",
        "install",
        "-y",
        "-q",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=300",
        *wanted,
    ]
    with locked(Path("/run/sluicegate-apt.lock")), step(f"Debian packages: {' '.join(wanted)}"):
        try:
            run(install, env=env)
        except ClusterError:
            run(["apt-get", "update", "-q"], env=env)
            run(install, env=env)
