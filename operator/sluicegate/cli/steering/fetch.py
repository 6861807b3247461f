"""Reading the revisions of a ModelDeployment from the cluster."""

from __future__ import annotations

from sluicegate.api import names
from sluicegate.api.resource import InvalidResource, decode
from sluicegate.cli import cluster
from sluicegate.cli.cluster import Failed
from sluicegate.cli.steering.revisions import History, build_history
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden
from sluicegate.kube.kinds import CONTROLLER_REVISION, MODEL_DEPLOYMENT


async def fetch_history(client: KubeClient, namespace: str, name: str) -> tuple[History, tuple[str, ...]]:
    """Fetch the revisions of one ModelDeployment.

    Returns:
        The revisions, and notes on what the user may not read.

    Raises:
        Failed: The ModelDeployment does not exist, it cannot be decoded, or the cluster does not have the CRD.
    """
    raw = await client.get(MODEL_DEPLOYMENT, namespace, name)
    if raw is None:
        await cluster.require_crd(client, namespace)
        raise cluster.not_found(namespace, name)
    try:
        resource = decode(raw)
    except InvalidResource as error:
        raise Failed(f"{namespace}/{name} cannot be decoded: {error}") from error
    try:
        records = (await client.list(CONTROLLER_REVISION, namespace, f"{names.LABEL_DEPLOYMENT}={name}")).items
    except Forbidden as error:
        return build_history(resource, None), (f"images and creation times are not shown: {error.message}",)
    return build_history(resource, records), ()
