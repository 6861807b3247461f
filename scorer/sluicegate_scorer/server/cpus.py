"""The number of CPUs of this container, and thread counts of numeric libraries."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS", "LOKY_MAX_CPU_COUNT")


def available(root: Path = _CGROUP, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Return the number of CPUs that this process may use, at least one.

    It is the smaller of the cgroup's quota, rounded up, and the CPU affinity of this process. Otherwise a container
    with a limit of 2 on a node with 64 cores would run 64 threads on 2 CPUs.
    """
    limits = [len(os.sched_getaffinity(0))]
    for folder in _folders(root, membership):
        quota = _v2(folder) or _v1(folder)
        if quota is not None:
            limits.append(math.ceil(quota))
    return max(1, min(limits))


def limit_threads(cpus: int) -> None:
    """Set the thread counts of OpenMP and BLAS libraries that are not set yet.

    This has an effect only before the libraries are loaded.
    """
    for name in _THREADS:
        os.environ.setdefault(name, str(cpus))


def _folders(root: Path, membership: Path) -> list[Path]:
    """Return the process's cgroup and its parents, because each may have a limit."""
    folders = [root, root / "cpu", root / "cpu,cpuacct"]
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root if not controllers else root / controllers
        inner = base / path.lstrip("/")
        folders += [inner, *(parent for parent in inner.parents if base in parent.parents)]
    return folders


def _v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
