"""The Kubernetes client: the few verbs that the operator needs, on plain dicts.

The client builds requests, and the transport sends them. It retries nothing. Applies are idempotent, and the work queue
repeats whole reconciles. A blind retry of a lost create or delete would hide which writer made the change.
"""

import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, Self

from sluicegate.kube.errors import Invalid, KubeError, NotFound, ServerError, TooLong, Undecodable
from sluicegate.kube.kinds import LEASE, POD, Kind
from sluicegate.kube.transport import APPLY, MERGE_PATCH, ClientOptions, Request, Transport, connect
from sluicegate.kube.wire import Object, Page, WatchEvent, decode, decode_page, events, read_object

DEFAULT_OPTIONS = ClientOptions()

PAGE_BYTES = 32 << 20
"""Maximum size of one page of a list, in bytes. The client requests a larger one again in smaller pages."""


class KubeClient:
    """Client of one API server. Create it with `connect`."""

    def __init__(self, transport: Transport, options: ClientOptions = DEFAULT_OPTIONS) -> None:
        """Use a transport. The caller closes it."""
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
        """Open a client.

        `transport.connect` documents where the configuration comes from.
        """
        async with connect(kubeconfig, context, options) as transport:
            yield cls(transport, options)

    @property
    def date(self) -> tuple[str | None, float]:
        """Return the API server's time and the monotonic time at which it arrived.

        The API server's time is the header Date of its last response.
        """
        return self._transport.date

    async def apply(
        self, kind: Kind, manifest: Mapping[str, Any], *, manager: str, subresource: str | None = None
    ) -> Object:
        """Apply a manifest server-side and return the object as stored.

        The apply takes over fields that other managers own.

        Args:
            kind: Kind of the object. It fills in apiVersion and kind where the manifest has none.
            manifest: Every field that this manager wants, and no other. The API server removes fields that the manager
                applied before and now leaves out. A `metadata.resourceVersion` is a precondition, but a missing object
                is created all the same. A `metadata.uid` prevents that.
            manager: The field manager.
            subresource: A subresource, such as `status`.

        Raises:
            Conflict: The precondition failed.
            Invalid: The manifest is wrong. Unknown and repeated fields count as wrong.
        """
        metadata = manifest["metadata"]
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **manifest}
        path = kind.path(metadata.get("namespace"), metadata["name"], subresource)
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        request = Request("PATCH", path, query, body, APPLY, admission=True)
        if subresource is not None:
            return await self._object("apply", kind, request)
        return await self._applied("apply", kind, request, body)

    async def merge_patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str | None = None,
    ) -> Object:
        """Merge a patch into an object (RFC 7386).

        A `metadata.resourceVersion` in the patch is a precondition.
        """
        path = kind.path(namespace, name, subresource)
        request = Request("PATCH", path, {"fieldValidation": "Strict"}, patch, MERGE_PATCH, kind is LEASE)
        return await self._object("patch", kind, request)

    async def annotate(
        self, kind: Kind, seen: Mapping[str, Any], annotations: Mapping[str, str | None], *, manager: str
    ) -> Object:
        """Set annotations on an object, unless it changed since it was read.

        Args:
            kind: Kind of the object.
            seen: Metadata of the object as it was read: namespace, name, resourceVersion.
            annotations: Annotations to set. None as a value removes the annotation.
            manager: The field manager.

        Raises:
            Conflict: Another writer has changed the object since.
        """
        body = {"metadata": {"resourceVersion": seen["resourceVersion"], "annotations": dict(annotations)}}
        query = {"fieldValidation": "Strict", "fieldManager": manager}
        path = kind.path(seen.get("namespace"), seen["name"])
        return await self._object("patch", kind, Request("PATCH", path, query, body, MERGE_PATCH))

    async def set_owners(
        self, kind: Kind, seen: Mapping[str, Any], references: Sequence[Mapping[str, Any]], *, manager: str
    ) -> Object:
        """Replace the owner references of an object, unless it changed since it was read.

        Arguments and errors are those of `annotate`.
        """
        body = {"metadata": {"resourceVersion": seen["resourceVersion"], "ownerReferences": list(references)}}
        query = {"fieldValidation": "Strict", "fieldManager": manager}
        path = kind.path(seen.get("namespace"), seen["name"])
        return await self._object("patch", kind, Request("PATCH", path, query, body, MERGE_PATCH, admission=True))

    async def dry_run(self, kind: Kind, manifest: Mapping[str, Any], *, manager: str | None) -> Object:
        """Return the object that a write would store, without storing it.

        Admission and validation run as they do for a real write.

        Args:
            kind: Kind of the object.
            manifest: The manifest to write.
            manager: Field manager of a server-side apply. None sends a merge patch (RFC 7386) instead.

        Raises:
            Invalid: The API server would reject the write.
            NotFound: The object of a merge patch does not exist, or the namespace does not exist.
        """
        metadata = manifest["metadata"]
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **manifest}
        path = kind.path(metadata.get("namespace"), metadata["name"])
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        if manager is None:
            return await self._object("dry-run", kind, Request("PATCH", path, query, body, MERGE_PATCH))
        query |= {"fieldManager": manager, "force": "true"}
        return await self._applied("dry-run", kind, Request("PATCH", path, query, body, APPLY), body)

    async def _applied(self, verb: str, kind: Kind, request: Request, body: Mapping[str, Any]) -> Object:
        """Send a server-side apply of a whole object, and raise Invalid for wrong fields."""
        try:
            return await self._object(verb, kind, request)
        except ServerError as error:
            if error.status == HTTPStatus.INTERNAL_SERVER_ERROR and not error.details:
                await self._check_fields(kind, body)
            raise

    async def _check_fields(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Raise Invalid if the fields of an object do not exist, or have values of the wrong type.

        Server-side apply responds to these with 500, as it does to failures that pass. The API server responds to a
        creation with 400 before it looks at anything else.
        """
        path = kind.path(body["metadata"].get("namespace"))
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        try:
            await self._object("dry-run", kind, Request("POST", path, query, body))
        except Invalid as error:
            if error.status == HTTPStatus.BAD_REQUEST:
                raise
        except KubeError:
            return

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
        """Request the deletion of an object.

        True means that the API server accepted the request. Finalizers, or a pod's grace period, may still keep the
        object.

        Args:
            kind: Kind of the object.
            namespace: Namespace of the object. None for a cluster-scoped kind.
            name: Name of the object.
            uid: Delete only the object with this uid, and no later one of the same name.
            propagation: `Background`, `Foreground` or `Orphan`: what happens to dependents.

        Returns:
            False if the object did not exist.

        Raises:
            Conflict: The name now belongs to another object.
        """
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            request = Request("DELETE", kind.path(namespace, name), body=body, admission=True)
            await self._send("delete", kind.kind, request)
        except NotFound:
            return False
        return True

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """Return one object, or None if it does not exist."""
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
        """List a kind page by page, so that memory never holds a whole long list.

        Args:
            kind: The kind to list.
            namespace: The namespace to list. None lists all namespaces.
            selector: A label selector, which the server evaluates.
            resource_version: `0` accepts what the server's cache has. An empty value requests the newest state.
            limit: Objects per page. A server that responds from its cache may ignore it. Pages of large objects have
                fewer.

        Raises:
            Gone: The list took so long that its resource version has expired. Start again.
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
        """List a whole kind. Arguments and errors are those of `pages`."""
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
        """Watch a kind.

        On entry to the context, the server has accepted the watch. Leaving the context closes the connection.

        Args:
            kind: The kind to watch.
            namespace: The namespace to watch. None watches all namespaces.
            selector: A label selector, which the server evaluates.
            resource_version: The resource version to start after, from a list or an earlier event.
            timeout_seconds: Seconds after which the server ends the stream. The client rounds it up to whole seconds.

        Yields:
            Events, bookmarks included, until the server ends the stream.

        Raises:
            Gone: The resource version has expired. List again.
            ApiError: The server returned any other error, as a response or inside the stream.
            Unreachable: The stream broke, or did not end in time.
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

    async def discover(self, group_version: str) -> Object:
        """Return the resources of an API group version, such as `metrics.k8s.io/v1beta1`.

        Raises:
            NotFound: The cluster does not have the API.
            ServerError: The API is registered, and its own server does not respond.
        """
        return decode(await self._send("get", "APIResourceList", Request("GET", f"/apis/{group_version}")), Object)

    async def version(self) -> Object:
        """Return the server's version (`gitVersion`, `major`, `minor`)."""
        return decode(await self._send("get", "Version", Request("GET", "/version")), Object)

    async def logs(
        self, namespace: str, name: str, container: str, previous: bool = False, tail_lines: int = 50
    ) -> str:
        """Return the end of a container's log, with undecodable bytes replaced.

        Args:
            namespace: Namespace of the pod.
            name: Name of the pod.
            container: A container of the pod. It may be an init container.
            previous: Whether to read the instance before the last restart.
            tail_lines: Number of lines from the end.

        Raises:
            NotFound: The pod does not exist.
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
        """GET a path of a pod's own HTTP server, through the API server's proxy.

        Undecodable bytes are replaced.

        Args:
            namespace: Namespace of the pod.
            name: Name of the pod.
            port: Port that the HTTP server listens on.
            path: A path, such as `/metrics`.

        Raises:
            Forbidden: The operator has no permission to get `pods/proxy`.
            ServerError: The pod does not respond.
        """
        request = Request("GET", POD.path(namespace, f"{name}:{port}", "proxy") + path)
        return (await self._send("proxy", POD.kind, request)).decode("utf-8", "replace")

    async def _object(self, verb: str, kind: Kind, request: Request) -> Object:
        decoded = read_object(await self._send(verb, kind.kind, request), kind)
        if isinstance(decoded, Undecodable):
            raise decoded
        return decoded

    async def _send(self, verb: str, kind: str, request: Request, at_most: int | None = None) -> bytes:
        with self._observed(verb, kind):
            return await self._transport.send(request, at_most)

    @contextmanager
    def _observed(self, verb: str, kind: str) -> Iterator[None]:
        """Report one request to the observer, whether it succeeds or fails."""
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
