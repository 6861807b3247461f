"""Objects that the API server stores and the operator must not decode.

This module also runs an operator in a process of its own.
"""

import asyncio
import contextlib
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
from sluicegate.api import names

DEPTH = 1200
DEEP = '{"a":' * DEPTH + "1" + "}" * DEPTH
WIDE = '{"metadata":{"annotations":{}},"a":[' + ",".join(["[]"] * 300_000) + "]}"
LABELS = (
    f'{{"{names.LABEL_MANAGED_BY}":"{names.MANAGER}","{names.LABEL_DEPLOYMENT}":"good","{names.LABEL_REVISION}":"x"}}'
)
RECORDS = {
    "deep": DEEP,
    "surrogate": r'{"model":"\ud800"}',
    "list": '{"template":[]}',
    "type": '{"model":{"version":{"a":[]}}}',
}
"""Values of `data` for ControllerRevisions."""


def resource(name: str, template: str) -> str:
    """Return a ModelDeployment whose podTemplate is the JSON `template`."""
    return (
        f'{{"apiVersion":"{names.API_VERSION}","kind":"{names.KIND}","metadata":{{"name":"{name}"}},"spec":'
        f'{{"model":{{"uri":"image:///opt/model"}},"runtime":{{"name":"custom","image":"example/model:1"}},'
        f'"podTemplate":{template}}}}}'
    )


def record(name: str, data: str) -> str:
    """Return a ControllerRevision with the operator's labels."""
    return (
        f'{{"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{{"name":"{name}","labels":{LABELS}}},'
        f'"revision":1,"data":{data}}}'
    )


class Process:
    """An operator for all namespaces, in a process of its own."""

    def __init__(self, kubeconfig: str, log: Path) -> None:
        self._kubeconfig = kubeconfig
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        start = self._log.stat().st_size if self._log.exists() else 0
        process = self._process = self._start()
        try:
            await self.until(lambda: self._listening(start))
            yield
            self.check()
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 30)

    def _start(self) -> subprocess.Popen[bytes]:
        options = ("--leader-election=false", "--health-port=0", "--webhook-port=0", "--resync=10")
        with self._log.open("ab") as log:
            return subprocess.Popen((*self._command("run"), *options), stderr=log)

    def _command(self, name: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "sluicegate.cli.main", name, "--kubeconfig", self._kubeconfig)

    async def shown(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Return the output of `sluicegate get`."""
        command = (*self._command("get"), *args)
        return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)

    def check(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-4000:]

    async def until(self, what: Callable[[], Awaitable[object]], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not await what():
            self.check()
            assert time.monotonic() < deadline, self._log.read_text()[-4000:]
            await asyncio.sleep(0.2)

    async def skipped(self) -> dict[str, int]:
        """Return the metric of undecodable objects by kind, without zeros."""
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"http://127.0.0.1:{self._port}/metrics")).text
        matches = re.findall(r'^sluicegate_undecodable_objects\{kind="(\w+)"\} (\d+)', text, re.MULTILINE)
        return {kind: int(count) for kind, count in matches if int(count)}

    async def _listening(self, start: int) -> bool:
        match = re.search(r"health and metrics on port (\d+)", self._log.read_text()[start:])
        self._port = int(match.group(1)) if match is not None else 0
        return self._port > 0
