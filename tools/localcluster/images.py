"""Container images without Docker.

The module builds a base image from Debian packages, and our Dockerfiles on top of it.
If a Docker or Podman engine runs, as on a developer's laptop, the engine builds the Dockerfiles instead.
Each image is an archive file in the cache, named after a hash of its inputs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from tools.localcluster import apt, tools
from tools.localcluster.errors import ClusterError
from tools.localcluster.paths import cache_root
from tools.localcluster.shell import locked, run, step

PAUSE = "localhost/sluicegate-pause:1"
_SUITE = "bookworm"
_PACKAGES = "python3,python3-venv,ca-certificates"
_EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def _cache() -> Path:
    path = cache_root() / "images"
    path.mkdir(exist_ok=True)
    return path


def _buildah(*args: str | Path, timeout: float = 1800) -> str:
    """Run buildah with its own storage, separate from all other images."""
    storage = cache_root() / "buildah"
    places = ["--root", storage / "root", "--runroot", storage / "run", "--storage-driver", _driver(storage)]
    return run(["buildah", *places, *args], timeout=timeout)


def _driver(storage: Path) -> str:
    """Return the storage driver: overlay if the kernel supports it, otherwise vfs.

    vfs copies the whole base image for every layer.
    """
    storage.mkdir(parents=True, exist_ok=True)
    return "overlay" if "\toverlay\n" in Path("/proc/filesystems").read_text() or _loads_overlay() else "vfs"


def _loads_overlay() -> bool:
    return shutil.which("modprobe") is not None and not subprocess.call(
        ["modprobe", "overlay"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def engine() -> str | None:
    """Return the Docker or Podman command if its engine responds."""
    for name in ("docker", "podman"):
        if shutil.which(name) is None:
            continue
        try:
            asked = subprocess.run([name, "info"], capture_output=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            continue
        if asked.returncode == 0:
            return name
    return None


def pause_image() -> Path:
    """Return the archive of the image that keeps a pod's namespaces open.

    The image consists of one static file, so this function assembles the archive itself.
    """
    tools.ensure([tools.pause])
    path = _cache() / f"pause-{tools.pause.key}.tar"
    if path.exists():
        return path

    def add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(data), mode
        archive.addfile(entry, BytesIO(data))

    layer = BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as inner:
        add(inner, "pause", Path(tools.pause.bin()).read_bytes(), 0o755)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "sluicegate"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    temporary = path.with_suffix(f".{os.getpid()}")
    with tarfile.open(temporary, "w") as outer:
        add(outer, "layer.tar", layer.getvalue())
        add(outer, "config.json", json.dumps(config).encode())
        add(outer, "manifest.json", json.dumps(manifest).encode())
    temporary.rename(path)
    return path


def base_image() -> Path:
    """Return the archive of a root file system with Python.

    The root file system consists of Debian packages.
    """
    apt.ensure(apt.IMAGES)
    key = hashlib.sha256(f"{_SUITE} {_PACKAGES} {_EXCLUDED} 1".encode()).hexdigest()[:12]
    path = _cache() / f"base-{_SUITE}-{key}.tar"
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            with step(f"base image (Debian {_SUITE} with Python)"):
                temporary = path.with_name(f".{path.name}")  # mmdebstrap takes the format from the file extension
                options = [
                    "--variant=minbase",
                    f"--include={_PACKAGES}",
                    *(f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED),
                ]
                run(["mmdebstrap", "--quiet", *options, _SUITE, temporary])
                temporary.rename(path)
    return path


def _provide_base(name: str) -> None:
    """Import the base image into buildah, under a name from a FROM line."""
    path = base_image()
    made = f"localhost/sluicegate-base:{path.stem.rpartition('-')[2]}"
    known = _buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()
    if made not in known:
        with step("base image into buildah"):
            container = _buildah("from", "scratch").strip()
            _buildah("add", "-q", container, path, "/")
            path_variable = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            _buildah("config", "--env", path_variable, "--cmd", "python3", container)
            _buildah("commit", "-q", "--rm", container, made)
    _buildah("tag", made, name)


def _instructions(dockerfile: Path) -> Iterator[list[str]]:
    text = re.sub(r"\\\n", " ", dockerfile.read_text())
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.split()


def _base_names(dockerfile: Path) -> list[str]:
    """Return the images in the FROM lines, without earlier stages of the same file."""
    stages: set[str] = set()
    found = []
    for words in _instructions(dockerfile):
        if words[0].upper() == "FROM":
            rest = [w for w in words[1:] if not w.startswith("--")]
            if rest[0] not in stages and rest[0] != "scratch":
                found.append(rest[0])
            if len(rest) == 3:
                stages.add(rest[2])
    return list(dict.fromkeys(found))


def _copied(dockerfile: Path, context: Path) -> list[Path]:
    """Return the files that the Dockerfile's COPY and ADD lines can read.

    The Dockerfile itself and .dockerignore are part of the result.
    """
    found: set[Path] = {dockerfile}
    if (context / ".dockerignore").exists():
        found.add(context / ".dockerignore")
    for words in _instructions(dockerfile):
        if words[0].upper() not in {"COPY", "ADD"} or any(w.startswith("--from") for w in words):
            continue
        sources = [w.strip('[]",') for w in words[1:] if not w.startswith("--")][:-1]
        for path in (p for s in sources for p in ([context] if s in {".", "./"} else context.glob(s.strip("/")))):
            inner = [path] if path.is_file() else path.rglob("*")
            found.update(p for p in inner if p.is_file() and not {".git", "__pycache__", ".venv"} & set(p.parts))
    return sorted(found)


def _content_key(dockerfile: Path, context: Path, tag: str, arguments: Sequence[str]) -> str:
    digest = hashlib.sha256(" ".join([tag, _SUITE, _PACKAGES, *arguments]).encode())
    for path in _copied(dockerfile, context):
        digest.update(f"{path.relative_to(context) if path.is_relative_to(context) else path.name}".encode())
        digest.update(b"%o" % (path.stat().st_mode & 0o777) + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _pip_configuration() -> str:
    """Return the PIP_* variables as a pip.conf.

    A mounted file cannot end up in the image, unlike an ENV variable.
    """
    names = {k.removeprefix("PIP_").lower().replace("_", "-"): v for k, v in os.environ.items() if k.startswith("PIP_")}
    names.pop("cert", None)
    lines = [f"{name} = {value}" for name, value in sorted(names.items()) if name not in {"require-virtualenv"}]
    return "\n".join(["[global]", f"cert = {_CERTIFICATES}", "root-user-action = ignore", *lines]) + "\n"


def _build_with_buildah(dockerfile: Path, context: Path, tag: str, arguments: Sequence[str], target: Path) -> None:
    apt.ensure(apt.IMAGES)
    for name in _base_names(dockerfile):
        _provide_base(name)
    pip_cache = cache_root() / "pip"
    pip_cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        configuration = Path(scratch) / "pip.conf"
        configuration.write_text(_pip_configuration())
        configuration.chmod(0o644)
        mounts = [f"{_CERTIFICATES}:{_CERTIFICATES}:ro", f"{configuration}:/etc/pip.conf:ro"]
        mounts.append(f"{pip_cache}:/root/.cache/pip")
        mounts += [f"{p}:{p}:ro" for p in os.environ.get("PIP_FIND_LINKS", "").split() if Path(p).is_dir()]
        volumes = [word for mount in mounts for word in ("-v", mount)]
        options = [
            "--isolation",
            "chroot",
            "--pull-never",
            "--network",
            "host",
            "--layers",
            "--format",
            "docker",
        ]
        _buildah("bud", "-q", *options, *volumes, *_build_args(arguments), "-t", tag, "-f", dockerfile, context)
    _buildah("push", "-q", tag, f"docker-archive:{target}:{tag}")


def _build_args(arguments: Sequence[str]) -> list[str]:
    return [word for argument in arguments for word in ("--build-arg", argument)]


def build(
    dockerfile: Path | str,
    context: Path | str = ".",
    tag: str = "localhost/image:dev",
    arguments: Sequence[str] = (),
) -> Path:
    """Build a Dockerfile and return the archive of the image.

    If the context is unchanged, the archive comes from the cache.

    Args:
        dockerfile: The Dockerfile. If no engine runs, the base image replaces the image in its FROM line.
        context: The folder that its COPY lines read from.
        tag: The name of the image, as pods use it.
        arguments: Values of the Dockerfile's ARG lines, as NAME=VALUE.
    """
    dockerfile, context = Path(dockerfile).resolve(), Path(context).resolve()
    if not dockerfile.is_file():
        raise ClusterError(f"There is no Dockerfile {dockerfile}.")
    short = re.sub(r"[^a-z0-9.]+", "-", tag.lower())
    target = _cache() / f"{short}-{_content_key(dockerfile, context, tag, arguments)}.tar"
    with locked(_cache() / ".build.lock"):
        if target.exists():
            return target
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with step(f"image {tag}"):
                if command := engine():
                    run(
                        [command, "build", "-q", *_build_args(arguments), "-t", tag, "-f", dockerfile, context],
                        timeout=1800,
                    )
                    run([command, "save", "-o", temporary, tag])
                else:
                    _build_with_buildah(dockerfile, context, tag, arguments, temporary)
            temporary.rename(target)
        finally:
            temporary.unlink(missing_ok=True)
        for old in _cache().glob(f"{short}-*.tar"):
            if old != target and re.fullmatch(re.escape(short) + r"-[0-9a-f]{16}\.tar", old.name):
                old.unlink()
    return target
