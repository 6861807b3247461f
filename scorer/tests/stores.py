"""Emulators of Google's and Azure's stores, a web server, and a relay that injects faults."""

import contextlib
import fcntl
import hashlib
import http.server
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

FILES = {
    "MLmodel": b"flavors: {}\n",
    "data/model.bin": os.urandom(3 << 20),
    "data/with space \u00fc+%.txt": b"x",
    "empty": b"",
}
ACCOUNT = "devstoreaccount1"  # This is Azurite's own account, with the key from its documentation.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
AZURITE = Path(__file__).parent / "azurite"


class Relay:
    """A relay that passes requests on to a store.

    `fault` may respond to a request instead of the store. `spoil` changes a body or cuts it off.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.seen: list[tuple[str, str | None]] = []
        self.fault = lambda handler: False
        self.spoil = lambda path, body: body
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                relay.seen.append((self.path, self.headers.get("Range")))
                if relay.fault(self):
                    return
                headers = [(name, value) for name, value in self.headers.items() if name.lower() != "host"]
                with httpx.Client(timeout=30, trust_env=False) as client:
                    request = client.build_request("GET", relay.upstream, headers=headers)
                    request.url = httpx.URL(relay.upstream).copy_with(raw_path=self.path.encode())
                    found = client.send(request)
                self.send_response(found.status_code)
                body = relay.spoil(self.path, found.content)
                for name, value in found.headers.items():
                    if name.lower() not in {"transfer-encoding", "content-length", "connection"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(found.content)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = len(body) < len(found.content)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@dataclass
class Store:
    """A store that has FILES at `uri`, reached through `relay`."""

    uri: str
    relay: Relay
    env: dict[str, str] = field(default_factory=dict)
    checksums: bool = True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def program(command: list[str], log: Path, url: str):
    """Run a server, and continue after its first response."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent)
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(httpx.TransportError):
                httpx.get(url)
                break
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait(20)


def azurite() -> str:
    """Return the path of Azurite.

    Its lock file determines what is installed, once for all runs.
    """
    lock = (AZURITE / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluicegate" / "azurite"
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / hashlib.sha256(lock).hexdigest()[:12]
    with (cache / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not place.exists():
            assert shutil.which("npm"), "these tests need npm, which installs Azurite"
            making = cache / f"making-{os.getpid()}"
            shutil.copytree(AZURITE, making)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev"]
            subprocess.run(command, cwd=making, check=True, capture_output=True, timeout=1200)
            making.rename(place)
    return str(place / "node_modules/.bin/azurite-blob")


class Web(http.server.SimpleHTTPRequestHandler):
    """A web server that lists folders and requires a user and a password.

    Unlike Python's own server, it continues partial downloads.
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != httpx.BasicAuth("me", "hunter2")._auth_header:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path.startswith("/unlisted/"):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = Path(self.translate_path(self.path))
        requested = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not path.is_file() or not requested or self.headers.get("If-Range") != '"1"':
            super().do_GET()
            return
        content, start = path.read_bytes(), int(requested.group(1))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def end_headers(self) -> None:
        self.send_header("ETag", '"1"')
        super().end_headers()
