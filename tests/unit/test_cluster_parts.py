"""The parts of the local cluster that need no cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.localcluster import addons, images, paths, proc, spec, tools
from tools.localcluster.errors import ClusterError
from tools.localcluster.leftovers import left_over


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEGATE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("SLUICEGATE_CACHE", str(tmp_path / "cache"))


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


def test_a_recycled_pid_is_left_alone() -> None:
    with sleeper() as process:
        proc.kill({process.pid: proc.start_time(process.pid) - 1})
        assert process.poll() is None
        process.kill()


def test_kill_ends_the_process_it_means() -> None:
    with sleeper() as process:
        os.kill(process.pid, 0)
        started = proc.start_time(process.pid)
        proc.kill({process.pid: started}, timeout=2)
        assert proc.start_time(process.pid) == 0


def test_a_daemon_is_found_again_and_started_as_before(tmp_path: Path) -> None:
    first = proc.start(tmp_path, "x", ["sh", "-c", "echo $WORD; exec sleep 60"], {"WORD": "hello"})
    found = proc.load(tmp_path, "x")
    assert found == first
    assert found.alive
    proc.kill({found.pid: found.started})
    assert not proc.load(tmp_path, "x").alive
    second = proc.start(tmp_path, "x", found.argv, found.env)
    proc.kill({second.pid: second.started})
    assert proc.names(tmp_path) == ["x"]


def test_an_unknown_component_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no component 'y'"):
        proc.load(tmp_path, "y")


@pytest.mark.parametrize("name", ["", "Dev", "a/b", "../x", "-a", "a-", "a" * 21, "a\n"])
def test_names_that_cannot_be_a_cluster(name: str) -> None:
    with pytest.raises(ClusterError):
        paths.check_name(name)


def test_a_spec_survives_its_file() -> None:
    made = spec.control_plane("cp")
    made.state.mkdir(parents=True)
    made.save()
    assert spec.load("cp") == made
    assert spec.all_names() == ["cp"]
    assert made.service_ip(10) == "10.96.0.10"
    assert len({made.api_port, made.etcd_port, made.etcd_peer_port}) == 3


def test_a_broken_spec_is_no_cluster() -> None:
    folder = paths.state_dir("cp")
    folder.mkdir(parents=True)
    (folder / "cluster.json").write_text("{")
    assert spec.load("cp") is None


def test_addons_bring_what_they_need() -> None:
    assert [a.name for a in addons.choose(("traefik",), "node")] == ["gateway-crds", "traefik"]
    assert addons.choose(None, "control-plane") == []
    assert addons.choose((), "node") == []


def test_addons_that_cannot_be() -> None:
    with pytest.raises(ClusterError, match="no addon nope"):
        addons.choose(("nope",), "node")
    with pytest.raises(ClusterError, match="no node for dns"):
        addons.choose(("dns",), "control-plane")


def test_a_tool_has_another_key_when_its_recipe_changes() -> None:
    one = tools.go_tool("kwok", "v1", "a")
    assert one.key != tools.go_tool("kwok", "v1", "b").key
    assert one.key != tools.go_tool("versitygw", "v1", "a").key


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(tool: tools.Tool, target: Path) -> None:
        (target / "half").touch()
        raise ClusterError("no")

    tool = tools.Tool("broken", "v1", fail)
    with pytest.raises(ClusterError):
        tools.ensure([tool])
    assert not tool.path.exists()
    assert [p for p in tool.path.parent.iterdir() if p.is_dir()] == []


def test_a_tool_is_built_once() -> None:
    calls = []
    tool = tools.Tool("counted", "v1", lambda tool, target: calls.append(target))
    tools.ensure([tool, tool])
    tools.ensure([tool])
    assert len(calls) == 1


def test_the_image_key_follows_what_the_dockerfile_copies(tmp_path: Path) -> None:
    dockerfile = tmp_path / "images" / "Dockerfile"
    dockerfile.parent.mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1")
    dockerfile.write_text(
        "FROM docker.io/library/python:3.11 AS build\nCOPY --chown=1 \\\n  src/ /src/\n"
        "FROM build\nCOPY --from=build /x /x\n"
    )
    assert images._base_names(dockerfile) == ["docker.io/library/python:3.11"]
    key = images._content_key(dockerfile, tmp_path, "t", ())
    (tmp_path / "other").write_text("1")
    assert images._content_key(dockerfile, tmp_path, "t", ()) == key
    assert images._content_key(dockerfile, tmp_path, "t", ["FLAVOR=onnx"]) != key
    (tmp_path / "src" / "a.py").write_text("2")
    assert images._content_key(dockerfile, tmp_path, "t", ()) != key


def test_pip_settings_become_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "180")
    assert "default-timeout = 180\n" in images._pip_configuration()


def test_process_whose_first_thread_ended_is_not_gone() -> None:
    """Check that a process exists while any of its threads does.

    The other threads still hold its sockets, so a successor could not listen yet.
    """
    code = "import ctypes, platform, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); " + (
        "ctypes.CDLL(None).syscall(60 if platform.machine() == 'x86_64' else 93, 0)"  # This ends this thread only.
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        stat = Path(f"/proc/{process.pid}/stat")
        until = time.monotonic() + 30
        while stat.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < until:
            time.sleep(0.01)
        assert proc.start_time(process.pid) != 0
    finally:
        process.kill()
        process.wait()
    assert proc.start_time(process.pid) == 0


def test_clusters_of_ended_runs_are_left_over() -> None:
    names = ("demo", "e2e", "e2e-gw0", f"pytest-{os.getpid()}", "pytest-999999999", "dev")
    assert [left_over(name) for name in names] == [True, True, True, False, True, False]
