"""The recipe examples/rollout-sticky.yaml on every Gateway API implementation.

A share of the users gets the candidate, and each user keeps a version.
"""

import zlib
from pathlib import Path

import pytest
import yaml

from e2e.support import rollouts
from e2e.support.kube import wait_until
from e2e.support.load import HEADERS
from e2e.support.rollouts import FIRST, GOOD, uri
from e2e.support.share import answers

pytestmark = [pytest.mark.timeout(600, func_only=True), pytest.mark.usefixtures("odd_versions")]
EXAMPLE = Path(__file__).resolve().parents[1] / "examples/rollout-sticky.yaml"
USERS = {user: zlib.crc32(user.encode()) % 100 for user in (f"user-{number}" for number in range(200))}
ASKS = 3
"""Requests of each user."""


def versions(url: str) -> dict[str, set[int]]:
    """Return the versions that each user gets responses from."""
    users = list(USERS) * ASKS
    found: dict[str, set[int]] = {user: set() for user in USERS}
    sent = ({**HEADERS, "x-user-percent": str(USERS[user])} for user in users)
    for user, version in zip(users, answers(url, sent), strict=True):
        found[user].add(version)
    return found


def expected(below: int) -> dict[str, set[int]]:
    """Map users below this percentage to the new version, others to the first."""
    return {user: {GOOD if percent < below else FIRST} for user, percent in USERS.items()}


def test_users_keep_their_version_while_its_share_of_them_grows(gateway, workspace, load, sluicegate):
    steps = [
        {**step, "hold": "0s", "pause": {}} for step in yaml.safe_load(EXAMPLE.read_text())["spec"]["rollout"]["steps"]
    ]
    rollout = {"steps": steps, "scaleDownDelay": "3s"}
    workspace.apply("shop", model=uri(FIRST), traffic=gateway.traffic(), rollout=rollout)
    workspace.wait_ready("shop")
    url = workspace.urls("shop")["gateway"]
    with load("shop", rate=10) as steady:
        workspace.apply("shop", model=uri(GOOD), traffic=gateway.traffic(), rollout=rollout)
        for index, below in enumerate((10, 50)):
            rollouts.wait_at(workspace, index, "Paused")
            wait_until(
                f"the gateway to know the users below {below} %", lambda b=below: versions(url) == expected(b), 60
            )
            assert versions(url) == expected(below)
            count = sum(percent < below for percent in USERS.values())
            print(
                f"{gateway.name}: {count} of {len(USERS)} users on the new version, {ASKS * len(USERS)} requests",
                flush=True,
            )
            assert sluicegate("promote", "shop")[0] == 0
        workspace.wait_ready("shop")
        wait_until("every client to be answered by it", lambda: steady.settled_on(GOOD), 60)
        assert versions(url) == expected(100)
    steady.check()
