"""SIGTERM ends the operator with exit code 0 within its grace period, whatever the operator does at that time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

BEGIN = """
import asyncio, logging, signal, sys, threading, time
from types import SimpleNamespace
from sluicegate.app import process, shutdown
from sluicegate.cli.commands import run
from sluicegate.config.settings import Settings
shutdown.on_signal.__defaults__ = (1.0,)

class Client:
    @staticmethod
    def connect(*_, **__): return Client()
    async def __aenter__(self): return self
    async def __aexit__(self, *_): {at_exit}

async def work(stop):
    sys.stderr.write("ready\\n")
    {work}

class Webhooks:
    enabled = False
    async def handle(self, request): ...

process.KubeClient = Client
process.build = lambda *_: SimpleNamespace(live=dict, ready=dict, webhooks=Webhooks(), run=work)
run.settings.load = lambda options: Settings(health_port=0, webhook_port=0)
{start}
sys.exit(run.run(SimpleNamespace(kubeconfig="/nonexistent")))
"""
WAIT = "await stop.wait(); return 0"
KOPF = (
    "loop = asyncio.get_running_loop(); [loop.add_signal_handler(s, print) for s in (signal.SIGTERM, signal.SIGINT)]; "
)


def start(work: str = WAIT, at_exit: str = "pass", before: str = "") -> subprocess.Popen[str]:
    code = BEGIN.format(work=work, at_exit=at_exit, start=before)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    log = []
    for line in process.stderr:
        if line == "ready\n":
            return process
        log.append(line)
    raise AssertionError(f"the process ended with {process.wait()}: {''.join(log)}")


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"work": KOPF + WAIT},
        {"work": "await asyncio.sleep(3600)"},
        {"work": "await stop.wait(); await asyncio.sleep(3600)"},
        {"work": "time.sleep(3600)"},
        {"work": "await stop.wait(); raise RuntimeError"},
        {"work": WAIT, "at_exit": "raise OSError"},
        {"work": WAIT, "at_exit": "await asyncio.sleep(3600)"},
        {"work": "asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600); " + WAIT},
    ],
    ids=["idle", "handlers of kopf", "ignored", "slow", "blocked", "error", "error at exit", "slow exit", "thread"],
)
def test_sigterm_ends_the_process_with_0(parts: dict[str, str]) -> None:
    process = start(**parts)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert time.monotonic() - began < 20
    assert "ERROR" not in log
    assert "received SIGTERM: the operator stops" in log


def test_a_signal_during_the_start_is_not_lost() -> None:
    process = start(before='sys.stderr.write("ready\\n"); run.configure_logging = lambda _: time.sleep(1)')
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)  # the second one if it arrives before `run` begins


def test_a_part_that_ends_is_exit_code_1() -> None:
    process = start("return 1")
    process.communicate(timeout=30)
    assert process.returncode == 1


def test_a_second_interrupt_ends_the_process_at_once() -> None:
    process = start("time.sleep(3600)", before="shutdown.on_signal.__defaults__ = (60.0,)")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("received SIGINT" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
