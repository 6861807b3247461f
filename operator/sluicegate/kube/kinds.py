"""The kinds of objects that the operator uses.

A static table replaces API discovery. The set of kinds is fixed, and discovery costs requests at every start. A kind
that the cluster does not have causes a 404 of its own, which the informer handles.
"""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object and where the API server stores it."""

    group: str
    """API group. Empty for the core group."""
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    stored: bool = True
    """False for requests in the form of an object, such as a SubjectAccessReview. Their responses have no name."""

    @property
    def api_version(self) -> str:
        """Return the `apiVersion` of a manifest of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of a collection, an object or a subresource.

        Args:
            namespace: Namespace of a namespaced kind. None means all namespaces, which is for collections only. It is
                ignored for a cluster-scoped kind.
            name: Name of the object. None means the collection.
            subresource: A subresource, such as `status`. It requires a name.

        Raises:
            ValueError: The parts do not make a path: an object of a namespaced kind without namespace, or a subresource
                without name.
        """
        if name is not None and self.namespaced and not namespace:
            raise ValueError(f"{self.kind} {name!r} needs a namespace")
        if subresource is not None and name is None:
            raise ValueError(f"{self.kind}: the subresource {subresource!r} needs a name")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/" + "/".join(quote(part, safe="") for part in parts)


MODEL_DEPLOYMENT = Kind("sluicegate.dev", "v1alpha1", "ModelDeployment", "modeldeployments")
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets")
CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision", "controllerrevisions")
SERVICE = Kind("", "v1", "Service", "services")
POD = Kind("", "v1", "Pod", "pods")
SECRET = Kind("", "v1", "Secret", "secrets")
TOKEN_REVIEW = Kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", namespaced=False, stored=False)
SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False, stored=False
)
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
PVC = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
HPA = Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
PDB = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
HTTP_ROUTE = Kind("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
GATEWAY = Kind("gateway.networking.k8s.io", "v1", "Gateway", "gateways")
GATEWAY_CLASS = Kind("gateway.networking.k8s.io", "v1", "GatewayClass", "gatewayclasses", namespaced=False)
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
EVENT = Kind("", "v1", "Event", "events")
CRD = Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)

ALL: tuple[Kind, ...] = (
    MODEL_DEPLOYMENT,
    DEPLOYMENT,
    REPLICA_SET,
    CONTROLLER_REVISION,
    SERVICE,
    POD,
    SECRET,
    CONFIG_MAP,
    NAMESPACE,
    PVC,
    ENDPOINT_SLICE,
    HPA,
    PDB,
    HTTP_ROUTE,
    GATEWAY,
    GATEWAY_CLASS,
    LEASE,
    EVENT,
    CRD,
)


def by_api(api_version: str, kind: str) -> Kind:
    """Return the kind that a manifest or an owner reference names.

    Raises:
        KeyError: The operator does not handle that kind. The message names it.
    """
    for candidate in ALL:
        if candidate.kind == kind and candidate.api_version == api_version:
            return candidate
    raise KeyError(f"{api_version} {kind} is not a kind the operator handles")
