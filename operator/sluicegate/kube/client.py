"""The client: the few verbs the operator needs, on plain dicts.

Requests are built here and sent by the transport. Nothing is retried: applies are idempotent and the work
queue repeats whole reconciles, while repeating a lost create or delete blindly would hide who did what.
"""

import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from typing import Any, Self

from sluicegate.kube.errors import NotFound, TooLong, Undecodable
from sluicegate.kube.kinds import LEASE, POD, Kind
from sluicegate.kube.transport import APPLY, MERGE_PATCH, ClientOptions, Request, Transport, connect
from sluicegate.kube.wire import Object, Page, WatchEvent, decode, decode_page, events, read_object

DEFAULT_OPTIONS = ClientOptions()

PAGE_BYTES = 32 << 20
"""Longest page of a list that is read; a longer one is asked for again in smaller pages."""


class KubeClient:
    """Talks to one API server. Make it with `connect`."""

    def __init__(self, transport: Transport, options: ClientOptions = DEFAULT_OPTIONS) -> None:
        """Use a transport that stays the caller's to close."""
        self._transport = transport
        self._observe = options.on_request

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        options: ClientOptions = DEFAULT_OPTIONS,
    ) -> AsyncIterator[Self]:
        """Open a client; see `transport.connect` for where the configuration comes from."""
        async with connect(kubeconfig, context, options) as transport:
            yield cls(transport, options)

    @property
    def date(self) -> tuple[str | None, float]:
        """The API server's time as its last answer had it (header Date), and the monotonic time at which that came."""
        return self._transport.date

    async def apply(
        self, kind: Kind, manifest: Mapping[str, Any], *, manager: str, subresource: str | None = None
    ) -> Object:
        """Apply a manifest server-side, taking over fields others own, and return the object as stored.

        Args:
            kind: Of the object; fills in apiVersion and kind where the manifest has none.
            manifest: Every field this manager wants, and no other: fields it applied before and now leaves
                out are removed. A `metadata.resourceVersion` is a precondition, but does not keep a missing
                object from being created; a `metadata.uid` does.
            manager: The field manager.
            subresource: `status`, for instance.

        Raises:
            Conflict: The precondition failed.
            Invalid: The manifest is wrong; unknown and repeated fields count as wrong.
        """
        metadata = manifest["metadata"]
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **manifest}
        path = kind.path(metadata.get("namespace"), metadata["name"], subresource)
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        return await self._object("apply", kind, Request("PATCH", path, query, body, APPLY))

    async def merge_patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str | None = None,
    ) -> Object:
        """Merge a patch into an object (RFC 7386); a `metadata.resourceVersion` in it is a precondition."""
        path = kind.path(namespace, name, subresource)
        request = Request("PATCH", path, {"fieldValidation": "Strict"}, patch, MERGE_PATCH, kind is LEASE)
        return await self._object("patch", kind, request)

    async def annotate(
        self, kind: Kind, seen: Mapping[str, Any], annotations: Mapping[str, str | None], *, manager: str
    ) -> Object:
        """Set annotations (None removes one) on an object that is still as it was when it was seen.

        Args:
            kind: Of the object.
            seen: Its metadata: namespace, name, resourceVersion.
            annotations: What to set.
            manager: The field manager.

        Raises:
            Conflict: Somebody has written it since.
        """
        body = {"metadata": {"resourceVersion": seen["resourceVersion"], "annotations": dict(annotations)}}
        query = {"fieldValidation": "Strict", "fieldManager": manager}
        path = kind.path(seen.get("namespace"), seen["name"])
        return await self._object("patch", kind, Request("PATCH", path, query, body, MERGE_PATCH))

    async def dry_run(self, kind: Kind, manifest: Mapping[str, Any], *, manager: str | None) -> Object:
        """Ask what a write would leave, admission and validation included; nothing is stored.

        Args:
            kind: Of the object.
            manifest: What would be written.
            manager: As whom it would be applied server-side; None is a merge patch (RFC 7386) instead.

        Raises:
            Invalid: The API server would refuse it.
            NotFound: A merge patch of what is not there, or a namespace that is not there.
        """
        metadata = manifest["metadata"]
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **manifest}
        path = kind.path(metadata.get("namespace"), metadata["name"])
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        if manager is None:
            return await self._object("dry-run", kind, Request("PATCH", path, query, body, MERGE_PATCH))
        query |= {"fieldManager": manager, "force": "true"}
        return await self._object("dry-run", kind, Request("PATCH", path, query, body, APPLY))

    async def create(self, kind: Kind, manifest: Mapping[str, Any]) -> Object:
        """Create an object.

        Raises:
            Conflict: The name is taken (reason AlreadyExists).
        """
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **manifest}
        path = kind.path(manifest["metadata"].get("namespace"))
        request = Request("POST", path, {"fieldValidation": "Strict"}, body, urgent=kind is LEASE)
        return await self._object("create", kind, request)

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        propagation: str = "Background",
    ) -> bool:
        """Ask for the deletion of an object.

        A true answer means the request was taken: finalizers, or a pod's grace period, may keep the object.

        Args:
            kind: Of the object.
            namespace: Of the object; None for a cluster-scoped kind.
            name: Of the object.
            uid: Delete only this very object, not a later one of the same name.
            propagation: `Background`, `Foreground` or `Orphan`: what becomes of dependents.

        Returns:
            False when it was gone already.

        Raises:
            Conflict: Another object has the name now.
        """
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._send("delete", kind.kind, Request("DELETE", kind.path(namespace, name), body=body))
        except NotFound:
            return False
        return True

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """Read one object; None when it is not there."""
        request = Request("GET", kind.path(namespace, name), urgent=kind is LEASE)
        try:
            return await self._object("get", kind, request)
        except NotFound:
            return None

    async def pages(
        self,
        kind: Kind,
        namespace: str | None = None,
        selector: str = "",
        resource_version: str = "",
        limit: int = 500,
    ) -> AsyncIterator[Page]:
        """List a kind page by page, so that a long list never stands in memory whole.

        Args:
            kind: What to list.
            namespace: None lists all namespaces.
            selector: A label selector, evaluated by the server.
            resource_version: `0` takes what the server's cache has; empty is the newest.
            limit: Objects a page; a server answering from its cache may ignore it. Pages of large objects have fewer.

        Raises:
            Gone: The list took so long that its moment is forgotten; start again.
            NotFound: The cluster does not have this kind.
        """
        query = {"labelSelector": selector} if selector else {}
        token = {"resourceVersion": resource_version} if resource_version else {}
        while True:
            request = Request("GET", kind.path(namespace), {"limit": str(limit), **query, **token})
            try:
                body = await self._send("list", kind.kind, request, PAGE_BYTES)
            except TooLong:
                if token.pop("resourceVersion", None) is None:
                    if limit == 1:
                        raise
                    limit = max(1, limit // 4)
                continue
            page = decode_page(body, kind)
            yield page
            if not page.continue_:
                return
            token = {"continue": page.continue_}

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        selector: str = "",
        resource_version: str = "",
        limit: int = 500,
    ) -> Page:
        """List a kind whole; arguments and errors as in `pages`."""
        pages = [page async for page in self.pages(kind, namespace, selector, resource_version, limit)]
        return Page(tuple(raw for page in pages for raw in page.raws), pages[-1].resource_version, kind=kind)

    @asynccontextmanager
    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        selector: str = "",
        resource_version: str = "",
        timeout_seconds: float = 180.0,
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Watch a kind; entering the context means the server has accepted, leaving it hangs up.

        Args:
            kind: What to watch.
            namespace: None watches all namespaces.
            selector: A label selector, evaluated by the server.
            resource_version: The moment to start after, from a list or an earlier event.
            timeout_seconds: The server ends the stream after this; sent rounded up to whole seconds.

        Yields:
            Events, bookmarks included, until the server ends the stream.

        Raises:
            Gone: The moment is forgotten; list again.
            ApiError: Any other refusal, as an answer or inside the stream.
            Unreachable: The stream broke, or went on past its time.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(math.ceil(timeout_seconds)),
        }
        if selector:
            query["labelSelector"] = selector
        if resource_version:
            query["resourceVersion"] = resource_version
        request = Request("GET", kind.path(namespace), query)
        async with AsyncExitStack() as stack:
            with self._observed("watch", kind.kind):
                chunks = await stack.enter_async_context(self._transport.stream(request, timeout_seconds))
            yield await stack.enter_async_context(aclosing(events(chunks, kind)))

    async def version(self) -> Object:
        """Read the server's version (`gitVersion`, `major`, `minor`)."""
        return decode(await self._send("get", "Version", Request("GET", "/version")), Object)

    async def logs(
        self, namespace: str, name: str, container: str, previous: bool = False, tail_lines: int = 50
    ) -> str:
        """Read the end of a container's log, undecodable bytes replaced.

        Args:
            namespace: Of the pod.
            name: Of the pod.
            container: Of the pod; init containers count.
            previous: Of the instance before the last restart.
            tail_lines: Lines from the end.

        Raises:
            NotFound: There is no such pod.
            Invalid: The container has not started, or has no previous instance.
        """
        query = {
            "container": container,
            "previous": str(previous).lower(),
            "tailLines": str(tail_lines),
        }
        request = Request("GET", POD.path(namespace, name, "log"), query)
        return (await self._send("logs", POD.kind, request)).decode("utf-8", "replace")

    async def through_pod(self, namespace: str, name: str, port: int, path: str) -> str:
        """GET a path of a pod's own HTTP server, through the API server's proxy, undecodable bytes replaced.

        Args:
            namespace: Of the pod.
            name: Of the pod.
            port: That it listens on.
            path: Such as `/metrics`.

        Raises:
            Forbidden: The right to get `pods/proxy` is missing.
            ServerError: The pod does not answer.
        """
        request = Request("GET", POD.path(namespace, f"{name}:{port}", "proxy") + path)
        return (await self._send("proxy", POD.kind, request)).decode("utf-8", "replace")

    async def _object(self, verb: str, kind: Kind, request: Request) -> Object:
        answer = read_object(await self._send(verb, kind.kind, request), kind)
        if isinstance(answer, Undecodable):
            raise answer
        return answer

    async def _send(self, verb: str, kind: str, request: Request, at_most: int | None = None) -> bytes:
        with self._observed(verb, kind):
            return await self._transport.send(request, at_most)

    @contextmanager
    def _observed(self, verb: str, kind: str) -> Iterator[None]:
        """Report one request to the observer, however it ends."""
        start = time.monotonic()
        outcome = "ok"
        try:
            yield
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            if self._observe is not None:
                self._observe(verb, kind, outcome, time.monotonic() - start)
