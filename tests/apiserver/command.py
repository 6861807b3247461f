"""The command as a process, run by the user of a kubeconfig."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.apiserver.testbed import FIRST, NODE

EXEC = "client.authentication.k8s.io/v1"


class Result(NamedTuple):
    """The exit code and the output of the command."""

    code: int
    out: str
    err: str


class Cli:
    """The command, run by the user of a kubeconfig."""

    def __init__(self, kubeconfig: str, namespace: str) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace

    async def start(self, command: str, *args: str, pipe_in: bool = False) -> asyncio.subprocess.Process:
        where = ["--kubeconfig", self.kubeconfig, "-n", self.namespace]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sluicegate.cli.main", command, *args, *where),
            stdin=asyncio.subprocess.PIPE if pipe_in else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    async def run(self, command: str, *args: str, stdin: Any = None) -> Result:
        process = await self.start(command, *args, pipe_in=stdin is not None)
        content = json.dumps(stdin).encode() if stdin is not None else None
        out, err = await asyncio.wait_for(process.communicate(content), 60)
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())


def manifest(namespace: str, uri: str = FIRST, **spec: Any) -> dict[str, Any]:
    """Return the manifest that `World.resource` applies, as a user writes it."""
    return {
        "apiVersion": "sluicegate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "demo", "namespace": namespace},
        "spec": {
            "model": {"uri": uri},
            "runtime": {"name": "custom", "image": "example/model:1"},
            "rollout": {"scaleDownDelay": "1s"},
            "podTemplate": {"spec": {"nodeName": NODE}},
            **spec,
        },
    }


def config_of(kubeconfig: str, path: Path, server: str | None = None, token: str | None = None) -> str:
    """Write a copy of the kubeconfig, and return its path.

    It has another address, or a user who gets a token from an exec credential plugin.
    """
    content = yaml.safe_load(Path(kubeconfig).read_text())
    for entry in content["clusters"]:
        entry["cluster"]["server"] = server or entry["cluster"]["server"]
    for entry in content["users"] if token else ():
        credential = {"kind": "ExecCredential", "apiVersion": EXEC, "status": {"token": token}}
        helper = {"apiVersion": EXEC, "command": "echo", "args": [json.dumps(credential)], "interactiveMode": "Never"}
        entry["user"] = {"exec": helper}
    path.write_text(yaml.safe_dump(content))
    return str(path)


async def output_until(process: asyncio.subprocess.Process, text: str, seconds: float = 40.0) -> str:
    """Return the output of the process up to the line that contains `text`."""
    assert process.stdout is not None
    output = ""
    try:
        async with asyncio.timeout(seconds):
            while text not in output:
                line = await process.stdout.readline()
                assert line, output
                output += line.decode()
    except TimeoutError as error:
        raise AssertionError(f"{text!r} was not printed within {seconds}s:\n{output}") from error
    return output
