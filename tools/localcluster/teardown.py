"""Remove everything that belongs to a cluster.

The state and the kernel show what belongs to the cluster. Nothing is found by a name that another process could have.
Daemons are found by process ID and start time. Everything else is found by the cluster's network namespace, its cgroup
and its folders. So the teardown also works on a half-started cluster, after a killed test run, and on a cluster whose
state is lost.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

from tools.localcluster import network, proc
from tools.localcluster.errors import ClusterError
from tools.localcluster.node import cgroup_folders
from tools.localcluster.paths import owner_note, socket_dir, state_dir
from tools.localcluster.shell import run, wait_until

_CNI_RESULTS = Path("/var/lib/cni/results")


def _cgroup_pids(netns: str) -> set[int]:
    found: set[int] = set()
    for folder in cgroup_folders(netns):
        for procs in folder.rglob("cgroup.procs"):
            with contextlib.suppress(OSError, ValueError):
                found.update(int(word) for word in procs.read_text().split())
    return found


def _kill_all(name: str, netns: str) -> None:
    """Kill the daemons, then every process in the cluster's namespace or cgroup.

    The daemons are killed first, because kubelet would otherwise start the pods again.
    Pods are killed directly. Otherwise, they outlive containerd, and a clean stop would wait for their grace periods.
    """
    state = state_dir(name)
    records = [proc.load(state, n) for n in proc.names(state)]
    proc.kill({r.pid: r.started for r in records if r.alive})
    for _ in range(20):
        pids = set(network.processes(netns)) | _cgroup_pids(netns)
        pids -= {os.getpid(), os.getppid(), 0}
        if not pids:
            return
        proc.kill({p: proc.start_time(p) for p in pids})
        time.sleep(0.02)  # a zombie leaves its cgroup when it is reaped


def _unmount(folders: list[Path]) -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].replace("\\040", " ") for line in lines]
    for point in reversed(points):
        if any(point == str(f) or point.startswith(f"{f}/") for f in folders):
            with contextlib.suppress(ClusterError):
                run(["umount", "-l", point])


def _remove_shim_sockets(runtime: Path) -> None:
    """Remove the sockets of the cluster's shims.

    One folder has the sockets of all shims on the machine. The state of each shim names its socket.
    """
    for address in runtime.glob("io.containerd.runtime.v2.task/*/*/address"):
        with contextlib.suppress(OSError):
            path = Path(address.read_text().strip().removeprefix("unix://"))
            if path.parent.name == "s":
                path.unlink(missing_ok=True)


def _remove_cgroups(netns: str) -> None:
    def gone() -> bool:
        for folder in cgroup_folders(netns):
            inner = sorted((p for p in folder.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts))
            for path in [*inner, folder]:
                with contextlib.suppress(OSError):
                    path.rmdir()
        return not cgroup_folders(netns)

    wait_until(f"the cgroups of {netns} to be empty", gone, 5, 0.05)


def _remove_cni_results(netns: str) -> None:
    """Remove the results that the CNI library keeps for the cluster's pods.

    The file name of a loopback result contains only the pod, not the cluster.
    """
    own = re.compile(re.escape(netns) + r"-([0-9a-f]{64})-.*")
    for path in _CNI_RESULTS.glob(f"{netns}-*"):
        if match := own.fullmatch(path.name):
            path.unlink(missing_ok=True)
            (_CNI_RESULTS / f"cni-loopback-{match[1]}-lo").unlink(missing_ok=True)


def _check_owner(name: str) -> None:
    note = owner_note(name)
    other = Path(note.read_text()) if note.exists() else state_dir(name)
    if other != state_dir(name) and (other / "cluster.json").exists():
        raise ClusterError(f"A cluster {name!r} runs already, with its state in {other}: use another name.")


def remove(name: str) -> None:
    """Remove a cluster and all its traces, if it exists."""
    state, sockets, netns = state_dir(name), socket_dir(name), f"sluice-{name}"
    _check_owner(name)
    _kill_all(name, netns)
    root = os.geteuid() == 0
    if root:
        _remove_shim_sockets(sockets / "containerd")
        _unmount([state, sockets])
        _remove_cgroups(netns)
        network.remove(name, netns)
        shutil.rmtree(sockets, ignore_errors=True)
        _remove_cni_results(netns)
    if state.exists():
        shutil.rmtree(state)


def leftovers(name: str) -> list[str]:
    """Return what is left of a cluster.

    The list is empty after `remove`.
    """
    state, sockets, netns = state_dir(name), socket_dir(name), f"sluice-{name}"
    machine = (sockets, network.path(netns), *cgroup_folders(netns)) if os.geteuid() == 0 else ()
    found = [str(p) for p in (state, *machine) if p.exists()]
    mounts = Path("/proc/self/mountinfo").read_text()
    found += [f"mounts under {f}" for f in (state, sockets) if f" {f}/" in mounts]
    return found
