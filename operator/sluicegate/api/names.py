"""Names that other programs see: API group, labels, annotations, field managers, and how children are called."""

from __future__ import annotations

GROUP = "sluicegate.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ModelDeployment"
PLURAL = "modeldeployments"
SHORT_NAME = "mdep"

MANAGER = "sluicegate"
"""Field manager of everything the operator applies; one name, so that dropping a field from a template removes it."""

STATUS_MANAGER = "sluicegate-status"
"""Field manager of the status alone, so that applying a status never lets go of a label or annotation."""

CLI_MANAGER = "sluicegate-cli"
"""Field manager of what a person does by a command: the operator itself writes neither spec nor annotations."""

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_DEPLOYMENT = f"{GROUP}/deployment"
"""On every child: the name of the ModelDeployment it belongs to."""
LABEL_REVISION = f"{GROUP}/revision"
"""On everything that belongs to one revision: the revision's hash."""
LABEL_SERVICE = f"{GROUP}/service"
"""On Services (and so on their EndpointSlices): `stable` or `revision`."""

ANNOTATION_ROLL = f"{GROUP}/roll"
"""User: any new value makes a new revision from the newest templates (it is part of the hash)."""
ANNOTATION_PIN = f"{GROUP}/pin"
ANNOTATION_ABORT = f"{GROUP}/abort"
ANNOTATION_PROMOTE = f"{GROUP}/promote"
ANNOTATION_RETRY = f"{GROUP}/retry"
ANNOTATION_PAUSE = f"{GROUP}/pause"

HASH_LENGTH = 10
NAME_LIMIT = 63 - 1 - HASH_LENGTH
"""Characters a ModelDeployment's name may have: children append `-` and a hash, and a DNS label has 63."""

MODEL_CONTAINER = "model"
FETCH_CONTAINER = "fetch"
INSTALL_CONTAINER = "install"
MODEL_PATH = "/mnt/model"
ENVIRONMENTS_PATH = "/mnt/environments"
ENVIRONMENT_LINK = "/tmp/environment"
"""In the pod's /tmp, which its containers share: what the installing container made and the scoring server runs in."""
PORT_NAME = "http"


def child_name(name: str, revision: str) -> str:
    """The name of every child of one revision: `NAME-HASH`."""
    return f"{name}-{revision}"


def owner_labels(name: str) -> dict[str, str]:
    """Labels of every child of the ModelDeployment called `name`; watches select by the first."""
    return {LABEL_MANAGED_BY: MANAGER, LABEL_DEPLOYMENT: name}


def revision_labels(name: str, revision: str) -> dict[str, str]:
    """Labels of every child that belongs to one revision."""
    return {**owner_labels(name), LABEL_REVISION: revision}
