"""The CustomResourceDefinition; `python -m tools.docsgen` writes it.

Nothing of the spec has a schema default: a default would be written into the stored object, so a GitOps tool would see a difference, and
`scaling` would hold a number of replicas that nobody chose.
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
    f"metadata.name must be at most {names.NAME_LIMIT} characters, lower-case letters, digits and '-', beginning with a letter and "
    "ending with a letter or digit: the names of Services are made from it",
    ".metadata.name",
)

_COLUMNS = (
    ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status", "Whether what is declared is what serves."),
    ("Status", "string", ".status.conditions[?(@.type=='Ready')].reason", "Why it is ready or not, in one word."),
    ("Model", "string", ".spec.model.uri", "The model asked for."),
    ("Version", "string", ".status.revisions[?(@.role=='Stable')].version", "The model version that serves."),
    ("Canary", "string", ".status.canary", "Weight of the canary, as the gateway has accepted it."),
    ("Replicas", "integer", ".status.replicas", "Pods of the stable revision."),
    ("URL", "string", ".status.url", "Where clients reach the model."),
    ("Age", "date", ".metadata.creationTimestamp", "Time since it was created."),
)


def schema() -> Schema:
    """The structural schema of a whole ModelDeployment."""
    return {
        "description": "A machine-learning model that is kept serving: which one, with what, for whom, and how new versions take over.",
        "type": "object",
        "properties": {
            "apiVersion": {"description": f"Always {names.API_VERSION}.", "type": "string", "maxLength": 64},
            "kind": {"description": f"Always {names.KIND}.", "type": "string", "maxLength": 64},
            "metadata": {
                "type": "object",
                "properties": {
                    "name": {
                        "description": f"At most {names.NAME_LIMIT} lower-case letters, digits and '-', beginning with a letter.",
                        "type": "string",
                        "maxLength": 253,
                    }
                },
            },
            "spec": {**schema_of(ModelDeploymentSpec), "description": "What is to be served, with what, for whom."},
            "status": {
                **schema_of(ModelDeploymentStatus),
                "description": "What is true, written by the operator.",
                "default": {"observedGeneration": 0},  # without it kstatus holds what nobody has looked at for done
            },
        },
        "required": ["spec"],
        "x-kubernetes-validations": validations([_NAME_RULE]),
    }


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition."""
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
    """Writes every value out in full: an alias would be lost on a reader."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def chart_crd() -> dict[str, Any]:
    """The CustomResourceDefinition as the chart has it: what uninstalls the operator, or prunes, must not take all models along."""
    found = crd()
    found["metadata"]["annotations"] = {
        "helm.sh/resource-policy": "keep",
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
    }
    return found


def text(manifest: dict[str, Any]) -> str:
    """Write a manifest as the text of a generated file."""
    return _HEADER + yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)
