"""Reading the revisions of a ModelDeployment from the cluster."""

from __future__ import annotations

from sluicegate.api import names
from sluicegate.api.resource import InvalidResource, decode
from sluicegate.cli import cluster
from sluicegate.cli.cluster import Failed
from sluicegate.cli.steering.revisions import History, history
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden
from sluicegate.kube.kinds import CONTROLLER_REVISION, MODEL_DEPLOYMENT


async def fetch_history(client: KubeClient, namespace: str, name: str) -> tuple[History, tuple[str, ...]]:
    """Fetch the revisions of one ModelDeployment.

    Returns:
        The revisions, and notes on what the user may not read.

    Raises:
        Failed: There is no such ModelDeployment, it cannot be decoded, or the cluster does not have the CRD.
    """
    raw = await client.get(MODEL_DEPLOYMENT, namespace, name)
    if raw is None:
        await cluster.require_crd(client, namespace)
        raise Failed(f"there is no ModelDeployment {name} in namespace {namespace}")
    try:
        resource = decode(raw)
    except InvalidResource as error:
        raise Failed(f"{namespace}/{name} cannot be read: {error}") from error
    try:
        records = (await client.list(CONTROLLER_REVISION, namespace, f"{names.LABEL_DEPLOYMENT}={name}")).items
    except Forbidden as error:
        return history(resource, None), (f"what the records keep (images, ages) is not shown: {error.message}",)
    return history(resource, records), ()
