"""A Git repository, and the Argo CD Application that deploys from it."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import yaml

from e2e.support.kube import Json, Kube, wait_until
from e2e.support.watch import Watch
from tools.localcluster import Cluster
from tools.localcluster.addons.argocd import NAMESPACE, REDIS, repositories, url

REPOSITORY = Path(__file__).resolve().parents[2]
APPLICATION = REPOSITORY / "examples/gitops/application.yaml"
PATCH = REPOSITORY / "integrations/argocd/argocd-cm.yaml"


class Git:
    """A Git repository whose folder `models` is deployed."""

    def __init__(self, cluster: Cluster, name: str, folder: Path) -> None:
        self.url = url(cluster, name)
        self._folder = folder
        bare = repositories(cluster) / f"{name}.git"
        self._git("init", "-q", "--bare", str(bare))
        self._git("init", "-q", "-b", "main")
        self._git("remote", "add", "origin", str(bare))

    def commit(self, *manifests: Json) -> str:
        """Replace the content with these objects, push, and return the commit."""
        models = self._folder / "models"
        models.mkdir(exist_ok=True)
        (models / "all.yaml").write_text(yaml.safe_dump_all(manifests))
        self._git("add", "-A")
        self._git("-c", "user.name=e2e", "-c", "user.email=e2e@example.com", "commit", "-q", "-m", "change")
        self._git("push", "-q", "origin", "main")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=self._folder, check=True, capture_output=True, text=True, timeout=30
        ).stdout


class Application:
    """The Application of examples/gitops/application.yaml, for one test.

    It has the test's own repository and namespace.
    `seen` holds every version of the Application.
    """

    def __init__(self, cluster: Cluster, kube: Kube, git: Git, namespace: str) -> None:
        self.name = namespace
        self.seen = Watch(kube, "application", NAMESPACE)
        self._cluster, self._kube, self._git = cluster, kube, git

    def __enter__(self) -> Application:
        self.seen.__enter__()
        manifest = yaml.safe_load(APPLICATION.read_text())
        manifest["metadata"]["name"] = self.name
        manifest["spec"]["source"]["repoURL"] = self._git.url
        manifest["spec"]["destination"]["namespace"] = self.name
        self._kube.apply("application", manifest)
        return self

    def __exit__(self, *error: Any) -> None:
        self._kube.delete("application", self.name, NAMESPACE)
        self.seen.__exit__(None, None, None)

    def commit(self, *manifests: Json) -> str:
        """Push these objects, make Argo CD compare at once, and return the commit.

        Without the request, Argo CD compares every ten seconds.
        """
        made = self._git.commit(*manifests)
        self.look()
        return made

    def look(self) -> None:
        """Make Argo CD compare now."""
        mark = {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}}
        self._kube.merge("application", self.name, NAMESPACE, mark)

    @property
    def status(self) -> Json:
        """Return the Application's current status."""
        application = self._kube.get("application", self.name, NAMESPACE) or {}
        return dict(application.get("status") or {})

    def wait(self, commit: str, health: str, timeout: float = 120) -> Json:
        """Wait until Argo CD has synced this commit and reports this health.

        Returns:
            The Application's resources, by `KIND/NAME`.
        """
        seen = ""

        def look() -> Json | None:
            nonlocal seen
            status = self.status
            seen = json.dumps({key: status.get(key) for key in ("sync", "health", "conditions", "resources")})
            same = status.get("sync", {}).get("status") == "Synced" and status["sync"].get("revision") == commit
            if not same or status.get("health", {}).get("status") != health:
                return None
            return {f"{resource['kind']}/{resource['name']}": resource for resource in status["resources"]}

        try:
            return dict(wait_until(f"{commit[:8]} to be synced and {health}", look, timeout))
        except AssertionError as late:
            raise AssertionError(f"{late}; Argo CD says {seen}") from None

    def healths(self, since: int = 0) -> list[str]:
        """List the changes of the health since version `since` of the watch."""
        return _changes([each.get("health", {}).get("status", "") for each in self._statuses(since)])

    def syncs(self, since: int = 0) -> list[str]:
        """List the changes of the sync status since version `since` of the watch."""
        return _changes([each.get("sync", {}).get("status", "") for each in self._statuses(since)])

    def position(self) -> int:
        """Return the number of versions that the watch has received."""
        return len(self.seen.of(self.name))

    def _statuses(self, since: int) -> list[Json]:
        return [each.obj.get("status") or {} for each in self.seen.of(self.name)[since:]]

    def tree(self) -> list[Json]:
        """Return the nodes of the resource tree that Argo CD's UI shows, from its Redis."""
        with socket.create_connection((self._cluster.node_ip, REDIS), timeout=5) as connection:
            stream = connection.makefile("rwb")
            [key] = _ask(stream, "KEYS", f"app|resources-tree|{self.name}|*")
            parsed = json.loads(gzip.decompress(_ask(stream, "GET", key.decode())))
            stream.close()
        return list(parsed["nodes"])


def _changes(values: list[str]) -> list[str]:
    kept = [value for value in values if value]
    return [each for number, each in enumerate(kept) if number == 0 or kept[number - 1] != each]


def _ask(stream: Any, *words: str) -> Any:
    """Send one command to Redis in the Redis protocol, and return the response."""
    stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w.encode()) for w in words))
    stream.flush()
    return _answer(stream)


def _answer(stream: Any) -> Any:
    line = stream.readline().strip()
    kind, number = line[:1], line[1:]
    if kind == b"*":
        return [_answer(stream) for _ in range(int(number))]
    assert kind == b"$" and int(number) >= 0, f"redis says {line!r}"
    text = stream.read(int(number))
    stream.read(2)
    return text
