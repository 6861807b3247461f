"""The CustomResourceDefinition, which `python -m tools.docsgen` writes.

No field of the spec has a schema default. The API server would write a default into the stored object, and GitOps tools
would report a difference. `scaling` would contain a number of replicas that no user set.
"""

from __future__ import annotations

from typing import Any

import yaml

from sluicegate.api import names
from sluicegate.api.fields import Rule
from sluicegate.api.schema import Schema, schema_of, validations
from sluicegate.api.spec import ModelDeploymentSpec
from sluicegate.api.status import ModelDeploymentStatus

CRD_FILE = f"crds/{names.GROUP}_{names.PLURAL}.yaml"
CHART_FILE = "charts/sluicegate/files/crd.yaml"
_HEADER = "# Generated from operator/sluicegate/api by `make generate`: do not edit.\n"

_NAME_RULE = Rule(
    f"size(self.metadata.name) <= {names.NAME_LIMIT} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    f"metadata.name must be at most {names.NAME_LIMIT} characters, lower-case letters, digits and '-', beginning "
    "with a letter and ending with a letter or digit",
    ".metadata.name",
)

_COLUMNS = (
    ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status", "Whether the desired state is reached."),
    ("Status", "string", ".status.conditions[?(@.type=='Ready')].reason", "Reason for the Ready status."),
    ("Model", "string", ".spec.model.uri", "URI of the model to serve."),
    ("Version", "string", ".status.revisions[?(@.role=='Stable')].version", "Model version of the stable revision."),
    ("Canary", "string", ".status.canary", "Weight of the canary or candidate that the gateway has accepted."),
    ("Replicas", "integer", ".status.replicas", "Number of pods of the stable revision."),
    ("URL", "string", ".status.url", "URL of the model for clients outside the cluster."),
    ("Age", "date", ".metadata.creationTimestamp", "Time since the resource was created."),
)


def schema() -> Schema:
    """Return the structural schema of a whole ModelDeployment."""
    return {
        "description": "A machine learning model to serve, and how new versions of it are rolled out.",
        "type": "object",
        "properties": {
            "apiVersion": {"description": f"Always {names.API_VERSION}.", "type": "string", "maxLength": 64},
            "kind": {"description": f"Always {names.KIND}.", "type": "string", "maxLength": 64},
            "metadata": {
                "type": "object",
                "properties": {
                    "name": {
                        "description": (
                            f"Name of the resource: at most {names.NAME_LIMIT} lower-case letters, digits and '-'. "
                            "It must begin with a letter and end with a letter or digit."
                        ),
                        "type": "string",
                        "maxLength": 253,
                    }
                },
            },
            "spec": {**schema_of(ModelDeploymentSpec), "description": "Desired state of the ModelDeployment."},
            "status": {
                **schema_of(ModelDeploymentStatus),
                "description": "Observed state of the ModelDeployment. The operator writes it.",
                "default": {"observedGeneration": 0},  # otherwise kstatus reports a new object as current
            },
        },
        "required": ["spec"],
        "x-kubernetes-validations": validations([_NAME_RULE]),
    }


def crd() -> dict[str, Any]:
    """Return the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": [names.SHORT_NAME],
                "categories": [names.MANAGER],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "description": text}
                        for name, kind, path, text in _COLUMNS
                    ],
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.scaling.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "schema": {"openAPIV3Schema": schema()},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """A dumper that writes every value in full instead of YAML aliases, which are hard to read."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def chart_crd() -> dict[str, Any]:
    """Return the CustomResourceDefinition of the chart.

    Its annotations keep it when a tool uninstalls the operator or prunes. Otherwise all models would be deleted.
    """
    manifest = crd()
    manifest["metadata"]["annotations"] = {
        "helm.sh/resource-policy": "keep",
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
    }
    return manifest


def text(manifest: dict[str, Any]) -> str:
    """Write a manifest as the text of a generated file."""
    return _HEADER + yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)
