"""A package index inside the cluster.

It holds the wheels that the scoring image was built from, and the wheels that a test adds.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

from tools.localcluster import Cluster
from tools.localcluster.paths import cache_root
from tools.localcluster.shell import locked, run

LOCK = Path(__file__).resolve().parents[2] / "scorer/flavors/sklearn.txt"
_NAME = "packages"


def locked_wheels() -> Path:
    """Return a folder with every wheel of the image's lock file, downloaded once."""
    path = cache_root() / "wheels" / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    path.parent.mkdir(exist_ok=True)
    with locked(path.parent / ".lock"):
        if not path.exists():
            making = path.with_name(f".{path.name}")
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q"]
            run([*pip, "--no-deps", "--require-hashes", "-r", LOCK, "-d", making], timeout=1500)
            for old in path.parent.glob("[0-9a-f]*"):
                shutil.rmtree(old)
            making.rename(path)
    return path


def write_wheel(folder: Path, name: str, version: str) -> None:
    """Write the wheel of a distribution with one module that states its version."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": f'VERSION = "{version}"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for each, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(each, text)


class Index:
    """The index as a pod of a namespace.

    It has one folder per package, and Python's own web server lists them.
    """

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._folder = folder
        self.url = f"http://{_NAME}.{namespace}.svc:8080"

    def add(self, *wheels: Path) -> None:
        """Add wheels to the index."""
        for wheel in wheels:
            name = re.sub(r"[-_.]+", "-", wheel.name.partition("-")[0]).lower()
            (self._folder / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(wheel, self._folder / name)

    def start(self) -> None:
        """Start the index, and wait until its pod is ready."""
        labels = {"app": _NAME}
        container = {
            "name": "index",
            "image": "localhost/sluicegate-scorer:dev",
            "command": ["python3", "-m", "http.server", "8080", "--directory", "/wheels"],
            "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
            "volumeMounts": [{"name": "wheels", "mountPath": "/wheels", "readOnly": True}],
        }
        volume = {"name": "wheels", "hostPath": {"path": str(self._folder)}}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": _NAME, "namespace": self._namespace, "labels": labels},
            "spec": {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 1},
        }
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": _NAME, "namespace": self._namespace},
            "spec": {"selector": labels, "ports": [{"port": 8080}]},
        }
        for manifest in (pod, service):
            self._cluster.kubectl("apply", "-f", "-", input=json.dumps(manifest))
        self._cluster.kubectl("-n", self._namespace, "wait", f"pod/{_NAME}", "--for=condition=Ready", "--timeout=90s")

    def stop(self) -> None:
        """Stop the index. It is unreachable from then on."""
        self._cluster.kubectl("-n", self._namespace, "delete", "pod", _NAME, timeout=90)
