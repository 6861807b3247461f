"""Reading Secrets."""

from typing import Any

import pytest
from sluicegate.kube.errors import Forbidden, ServerError
from sluicegate.kube.kinds import Kind
from sluicegate.kube.secrets import read_secret


class Reader:
    def __init__(self, found: Any) -> None:
        self.found = found

    async def get(self, kind: Kind, namespace: str, name: str) -> Any:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.mark.parametrize(
    ("found", "values"),
    [
        ({"data": {"url": "aHR0cDovL3g="}}, {"url": b"http://x"}),
        ({}, {}),
        ({"data": None}, {}),
        ({"data": {"url": "no base64!"}}, {}),
        (None, None),
        (Forbidden(403, "Forbidden", "may not"), None),
    ],
)
async def test_reads_values(found: Any, values: dict[str, bytes] | None) -> None:
    assert await read_secret(Reader(found), "shop", "login") == values


async def test_other_errors_are_the_callers() -> None:
    with pytest.raises(ServerError):
        await read_secret(Reader(ServerError(500, "InternalError", "etcd is away")), "shop", "login")
