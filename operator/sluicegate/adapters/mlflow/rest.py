"""Single requests to the MLflow REST API (`/api/2.0/mlflow`) of one registry."""

from __future__ import annotations

import functools
from typing import Any, Final, TypeVar

import httpx

from sluicegate.adapters import bounded
from sluicegate.adapters.mlflow.http import RegistryEndpoint, call

MAX_VERSION_BYTES: Final = 1024
"""Maximum size of the response to a request for the server's version, in bytes. The version is one short line."""

T = TypeVar("T")


class RestClient:
    """Sends one request at a time. It limits the size of a response, and its callers limit the time."""

    def __init__(self, endpoint: RegistryEndpoint, client: httpx.AsyncClient) -> None:
        """Create the client on `client`, which the caller closes."""
        self.endpoint = endpoint
        self._client = client

    async def is_mlflow_2(self) -> bool:
        """Tell whether the server is older than logged models, by GET /version.

        The HTML 404 of such a server does not look like a response of MLflow.
        """
        version = httpx.URL(self.endpoint.tracking_uri.rstrip("/") + "/version").copy_with(username=None, password=None)
        build = functools.partial(self._client.build_request, "GET", version)
        try:
            response = await bounded.fetch(self._client, build, MAX_VERSION_BYTES)
        except (bounded.RequestFailed, bounded.ResponseRefused):
            return False
        return response.status == 200 and response.body.startswith((b"1.", b"2."))

    async def get(self, path: str, response_type: type[T], params: dict[str, str]) -> T:
        """Send a GET request, as `send` does."""
        return await self.send("GET", path, response_type, params=params)

    async def send(self, method: str, path: str, response_type: type[T], **content: Any) -> T:
        """Send one request to a path below `/api/2.0/mlflow/`, and decode the response.

        Raises:
            MlflowError: MLflow refused the request.
            ResolutionError: The request failed.
        """
        build = functools.partial(self._client.build_request, method, path, **content)
        return await call(self._client, self.endpoint, build, response_type)
