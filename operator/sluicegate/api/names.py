"""Names that other programs see: API group, labels, annotations, field managers and names of children."""

from __future__ import annotations

from typing import NewType

RevisionHash = NewType("RevisionHash", str)
"""The ten characters that name a revision. A missing revision is None, never an empty text."""

GROUP = "sluicegate.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ModelDeployment"
PLURAL = "modeldeployments"
SHORT_NAME = "mdep"

MANAGER = "sluicegate"
"""Field manager of every object that the operator applies.

There is one for all of them, so that removing a field from a template removes it from the object.
"""

STATUS_MANAGER = "sluicegate-status"
"""Field manager of the status only, so that applying a status never removes a label or annotation."""

CLI_MANAGER = "sluicegate-cli"
"""Field manager of changes that a user makes with a command.

The operator itself writes neither the spec nor the annotations.
"""

LEASE = "sluicegate-operator"
"""Name of the Lease of an operator that serves all namespaces. That of one namespace appends `-NAMESPACE`."""

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_DEPLOYMENT = f"{GROUP}/deployment"
"""Label of every child: the name of its ModelDeployment."""
LABEL_REVISION = f"{GROUP}/revision"
"""Label of every object that belongs to one revision: the revision's hash."""
LABEL_SERVICE = f"{GROUP}/service"
"""Label of Services, and therefore of their EndpointSlices: `stable` or `revision`."""

ANNOTATION_ROLL = f"{GROUP}/roll"
"""Annotation that users set. It is part of the hash.

Any new value creates a new revision from the current templates.
"""
ANNOTATION_PIN = f"{GROUP}/pin"
ANNOTATION_ABORT = f"{GROUP}/abort"
ANNOTATION_PROMOTE = f"{GROUP}/promote"
ANNOTATION_RETRY = f"{GROUP}/retry"
ANNOTATION_PAUSE = f"{GROUP}/pause"

HASH_LENGTH = 10
NAME_LIMIT = 63 - 1 - HASH_LENGTH
"""Maximum length of a ModelDeployment's name, in characters.

Children append `-` and a hash, and a DNS label has at most 63 characters.
"""

MODEL_CONTAINER = "model"
FETCH_CONTAINER = "fetch"
INSTALL_CONTAINER = "install"
MODEL_PATH = "/mnt/model"
ENVIRONMENTS_PATH = "/mnt/environments"
ENVIRONMENT_LINK = "/tmp/environment"
"""Path in the pod's /tmp, which its containers share.

The install container creates the environment there, and the scoring server runs in it.
"""
PORT_NAME = "http"


def child_name(name: str, revision: RevisionHash) -> str:
    """Return the name of every child of one revision: `NAME-HASH`."""
    return f"{name}-{revision}"


def cli_args(name: str, namespace: str) -> str:
    """Return the arguments of a command that name a ModelDeployment: `churn -n shop`.

    The namespace `default` is left out.
    """
    return name if namespace == "default" else f"{name} -n {namespace}"


def owner_labels(name: str) -> dict[str, str]:
    """Return the labels of every child of the ModelDeployment `name`.

    Watches select children by LABEL_MANAGED_BY.
    """
    return {LABEL_MANAGED_BY: MANAGER, LABEL_DEPLOYMENT: name}


def revision_labels(name: str, revision: RevisionHash) -> dict[str, str]:
    """Return the labels of every child that belongs to one revision."""
    return {**owner_labels(name), LABEL_REVISION: revision}
