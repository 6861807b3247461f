"""Benchmark of `sluicegate-scorer fetch` with a large model in an S3 store on loopback.

    .venv/bin/python bench/bench_fetch.py                      2 GiB in one file, three rounds; 5 GB of disk
    .venv/bin/python bench/bench_fetch.py --gib 0.5 --rate 60  each connection carries 60 MB/s, as those of Amazon S3
    .venv/bin/python bench/bench_fetch.py --other ../older/scorer --obstore /tmp/venv/bin/python

It needs the virtual environment that `make venv-scorer` creates. The store is versitygw on a temporary folder. The
programs run in turn, and each round has another order. They are `sluicegate-scorer fetch`, which also computes the
SHA-256 of each file, and boto3's transfer manager with its defaults, on which `aws s3 cp` is built. `--other` adds the
`fetch` of another checkout, and `--obstore` a Python that has obstore.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # bench is not an installed package

from tools.localcluster.addons.s3 import ACCESS_KEY, SECRET_KEY, s3  # noqa: E402

SO_MAX_PACING_RATE = 47
PREPARE = """
import boto3, pathlib, sys
client = boto3.client("s3")
client.create_bucket(Bucket="models")
for path in pathlib.Path(sys.argv[1]).iterdir():
    client.upload_file(str(path), "models", f"m/{path.name}")
"""
S3TRANSFER = """
import boto3, pathlib, sys
client = boto3.client("s3")
for item in client.list_objects_v2(Bucket="models", Prefix="m/")["Contents"]:
    client.download_file("models", item["Key"], str(pathlib.Path(sys.argv[1], item["Key"][2:])))
"""
OBSTORE = """
import asyncio, os, pathlib, sys, obstore
from obstore.store import S3Store
store = S3Store("models", endpoint=os.environ["AWS_ENDPOINT_URL"], client_options={"allow_http": True, "timeout": "1h"})
STEP = 8 << 20
async def fetch(item, limit):
    target = os.open(pathlib.Path(sys.argv[1], item["path"][2:]), os.O_CREAT | os.O_WRONLY)
    async def part(start):
        async with limit:
            end = min(start + STEP, item["size"])
            os.pwrite(target, await obstore.get_range_async(store, item["path"], start=start, end=end), start)
    await asyncio.gather(*(part(start) for start in range(0, item["size"], STEP)))
    os.close(target)
async def main():
    limit = asyncio.Semaphore(10)
    await asyncio.gather(*(fetch(item, limit) for item in obstore.list(store, prefix="m").collect()))
asyncio.run(main())
"""


class Run(NamedTuple):
    """One download: seconds, seconds of processor time, and the peak of the memory in MB."""

    seconds: float
    cpu: float
    memory: float


def free_port() -> int:
    """Return a port that no program listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def store(folder: Path) -> Iterator[int]:
    """Run versitygw on a folder, and yield its port."""
    port = free_port()
    env = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    argv = [s3.tools[0].bin(), "--port", f"127.0.0.1:{port}", "posix", str(folder)]
    process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


def limited(port: int, rate: float) -> int:
    """Start a relay whose connections carry `rate` MB/s each, and return its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, int(rate * 1e6))
            server = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            threading.Thread(target=pump, args=(server, client), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


def download(argv: list[str], env: dict[str, str], size: int) -> Run:
    """Run a program that downloads the model to the directory that is its last argument.

    Raises:
        RuntimeError: if it fails, or the result is incomplete.
    """
    with tempfile.TemporaryDirectory(prefix="sluicegate-fetch-", dir=env["SCRATCH"]) as target:
        began = time.monotonic()
        process = subprocess.Popen([*argv, target], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        found = sum(path.stat().st_size for path in Path(target).iterdir() if not path.name.startswith("."))
        if status or found != size:
            assert process.stderr is not None
            raise RuntimeError(f"{argv[1:3]} has {found} of {size} bytes: {process.stderr.read().decode()[-2000:]}")
        return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def fill(folder: Path, gib: float) -> int:
    """Write a model of one large file, and return its size."""
    (folder / "MLmodel").write_text("flavors: {}\n")
    block = os.urandom(1 << 20)
    with (folder / "model.bin").open("wb") as file:
        for _ in range(int(gib * 1024)):
            file.write(block)
    return sum(path.stat().st_size for path in folder.iterdir())


def main() -> None:
    """Run the benchmark, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.0, help="size of the model (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each program runs (default 3)")
    parser.add_argument("--rate", type=float, help="MB/s that one connection carries (default: no limit)")
    parser.add_argument("--python", default=str(REPOSITORY / ".venv-scorer/bin/python"), help="environment of fetch")
    parser.add_argument("--other", type=Path, help="the folder scorer of another checkout")
    parser.add_argument("--obstore", help="a Python that has obstore")
    options = parser.parse_args()
    fetch = [options.python, "-m", "sluicegate_scorer", "fetch", "s3://models/m"]
    programs = {
        "fetch": (fetch, str(REPOSITORY / "scorer")),
        "boto3's transfer manager": ([options.python, "-c", S3TRANSFER], ""),
    }
    if options.other:
        programs["fetch of the other checkout"] = (fetch, str(options.other.resolve()))
    if options.obstore:
        programs["obstore, 10 ranges at a time"] = ([options.obstore, "-c", OBSTORE], "")
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory(prefix="sluicegate-bench-fetch-") as scratch:
        (data := Path(scratch, "data")).mkdir()
        (model := Path(scratch, "model")).mkdir()
        size = fill(model, options.gib)
        with store(data) as port:
            env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
            env |= {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "SCRATCH": scratch}
            env |= {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
            env |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "TERMINATION_LOG": f"{scratch}/termination-log"}
            subprocess.run([options.python, "-c", PREPARE, str(model)], env=env, check=True)
            shutil.rmtree(model)
            if options.rate:
                env["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{limited(port, options.rate)}"
            for number in range(options.rounds):
                for name in sorted(programs, reverse=bool(number % 2)):
                    argv, path = programs[name]
                    runs[name].append(download(argv, {**env, "PYTHONPATH": path}, size))
                    print(f"round {number + 1}, {name}: {json.dumps(runs[name][-1])}", file=sys.stderr, flush=True)
    print(f"| {options.gib:g} GiB | seconds | MB/s | CPU s | memory MB |\n|---|---|---|---|---|")
    for name, found in runs.items():
        seconds, cpu, memory = (statistics.median(column) for column in zip(*found, strict=True))
        spread = f"{seconds:.1f} ({min(found).seconds:.1f} to {max(found).seconds:.1f})"
        print(f"| {name} | {spread} | {size / seconds / 1e6:.0f} | {cpu:.1f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
