"""Create and remove clusters."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.localcluster import addons as catalogue
from tools.localcluster import apt, controlplane, images, network, node, proc, teardown, tools
from tools.localcluster import spec as specs
from tools.localcluster.addons import Addon
from tools.localcluster.cluster import Cluster
from tools.localcluster.errors import ClusterError
from tools.localcluster.paths import check_name, owner_note, state_root
from tools.localcluster.shell import locked, say, step, wait_until


def prepare(profile: str, addons: Sequence[Addon], base_image: bool = False, more: Sequence[tools.Tool] = ()) -> None:
    """Install and build everything that a cluster needs.

    The Go builds keep the CPUs busy for minutes, so tasks that mostly download run in parallel with them.

    Args:
        profile: `node` or `control-plane`.
        addons: Addons whose tools are needed too.
        base_image: Whether to build the base image of our own images at the same time.
        more: Tools that a cluster itself does not need, but that are used with it. They are built first.
    """
    wanted = [*more, tools.kubernetes, tools.etcd, *(t for a in addons for t in a.tools)]
    packages = apt.NODE if profile == "node" else apt.CONTROL_PLANE
    if profile == "node":
        wanted.append(tools.pause)

    def debian() -> None:
        apt.ensure({**packages, **(apt.IMAGES if base_image else {})})
        if base_image:
            images.base_image()

    with ThreadPoolExecutor(max_workers=2) as pool:
        beside = pool.submit(debian)
        tools.ensure(wanted)
        beside.result()


def _check_profile(profile: str) -> None:
    if profile not in specs.PROFILES:
        raise ClusterError(f"There is no profile {profile!r}; there are: {', '.join(specs.PROFILES)}.")
    if profile == "node" and os.geteuid() != 0:
        raise ClusterError("The node profile makes namespaces, mounts and cgroups: run it as root.")


def _make(spec: specs.Spec, scheduler: bool) -> None:
    spec.state.mkdir(parents=True, exist_ok=True)
    spec.save()
    if not spec.is_node:
        controlplane.bring_up(spec, scheduler)
        return
    network.create(spec)
    with ThreadPoolExecutor(max_workers=1) as pool:
        runtime = pool.submit(node.start_runtime, spec)
        controlplane.bring_up(spec, scheduler=True)
        runtime.result()
    node.start_node(spec)


def _start_addons(cluster: Cluster, addons: Sequence[Addon]) -> None:
    new = [a for a in addons if not a.running(cluster)]
    for addon in new:
        addon.start(cluster)
    for addon in new:
        with step(f"addon {addon.name}"):
            wait_until(f"the addon {addon.name} to work", lambda a=addon: _works(cluster, a), 60)  # type: ignore[misc]


def _works(cluster: Cluster, addon: Addon) -> bool:
    if addon.name in cluster.components:
        proc.check_alive(cluster.state, [addon.name])
    return addon.ready(cluster)


def up(
    name: str = "dev",
    profile: str = "node",
    addons: Sequence[str] | None = None,
    *,
    scheduler: bool = False,
    base_image: bool = False,
) -> Cluster:
    """Create a cluster, or find the healthy one of that name and add what it lacks.

    Args:
        name: Name of the cluster.
        profile: `node` (everything, root only) or `control-plane` (API server and controllers on 127.0.0.1).
        addons: Names of the addons. None stands for the profile's default set.
        scheduler: Whether a control plane has a scheduler too. A node always has one.
        base_image: Whether to build the base image of our own images in parallel with the other builds.

    Returns:
        The running cluster.
    """
    _check_profile(profile)
    chosen = catalogue.choose(None if addons is None else tuple(addons), profile)
    with locked(state_root() / f".{check_name(name)}.lock"):
        found = specs.load(name)
        if found and found.ready and found.profile != profile:
            raise ClusterError(
                f"The cluster {name!r} has the profile {found.profile}: take it down, or use a new name."
            )
        prepare(profile, chosen, base_image)
        if found:
            problem = Cluster(found).broken()
            if not problem:
                _start_addons(Cluster(found), chosen)
                return Cluster(found)
            say(f"  cluster {name} is made anew: {problem}")
        teardown.remove(name)
        cluster = _fresh(name, profile, scheduler)
        _start_addons(cluster, chosen)
        done = dataclasses.replace(cluster.spec, ready=True)
        done.save()
        return Cluster(done)


def _fresh(name: str, profile: str, scheduler: bool) -> Cluster:
    if profile == "node":
        with locked(Path("/run/sluicegate/.addresses.lock")), step("network"):
            spec = specs.node(name)
            spec.state.mkdir(parents=True)
            spec.save()
            owner_note(name).parent.mkdir(parents=True, exist_ok=True)
            owner_note(name).write_text(str(spec.state))
    else:
        spec = specs.control_plane(name)
    with step("control plane" + (", containerd, kubelet, kube-proxy" if spec.is_node else "")):
        _make(spec, scheduler)
    if spec.is_node:
        with step("node ready"):
            wait_until("the node to be ready", lambda: node.ready(spec), 60)
    return Cluster(spec)


def down(name: str = "dev") -> None:
    """Remove a cluster completely, if it exists.

    Raises:
        ClusterError: Parts of the cluster are left and cannot be removed.
    """
    with locked(state_root() / f".{check_name(name)}.lock"):
        teardown.remove(name)
        if left := teardown.leftovers(name):
            raise ClusterError(f"This is left of cluster {name!r} and could not be removed: {', '.join(left)}.")
