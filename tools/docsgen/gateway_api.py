"""`python -m tools.docsgen.gateway_api` writes the rules of HTTPRoutes that the command line checks offline.

They are the schema and the CEL rules of the Gateway API's own CRD, without descriptions, and only for the fields that
the operator renders. The CRD comes from the Go module that the local cluster installs, so this needs a network once.
`tests/apiserver/test_rendered_objects.py` fails where the file is out of date.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml
from sluicegate.cli.validation.gateway_api import RULES_FILE

from tools.localcluster.addons.gateway_crds import files
from tools.localcluster.tools import ensure_one

_BACKEND: Final[dict[str, Any]] = {"group": {}, "kind": {}, "name": {}, "port": {}}
_FIELDS: Final[dict[str, Any]] = {
    "hostnames": {},
    "parentRefs": {"group": {}, "kind": {}, "name": {}, "namespace": {}, "sectionName": {}, "port": {}},
    "rules": {
        "matches": {"path": {"type": {}, "value": {}}, "headers": {"name": {}, "value": {}, "type": {}}},
        "filters": {
            "type": {},
            "urlRewrite": {"path": {"type": {}, "replacePrefixMatch": {}}},
            "requestMirror": {"backendRef": _BACKEND, "percent": {}},
        },
        "backendRefs": {**_BACKEND, "weight": {}},
        "timeouts": {"request": {}},
    },
}
"""The fields that `render/templates/httproute.yaml.j2` sets. Any other field is unknown to the check."""


def text() -> str:
    """Return the text of the file."""
    path = ensure_one(files) / "gateway.networking.k8s.io_httproutes.yaml"
    crd = yaml.safe_load(path.read_text(encoding="utf-8"))
    [version] = [entry for entry in crd["spec"]["versions"] if entry["name"] == "v1"]
    schema = _pruned(version["schema"]["openAPIV3Schema"]["properties"]["spec"], _FIELDS)
    source = f"sigs.k8s.io/gateway-api {files.version} (Apache-2.0), {path.name}"
    content = {"generatedBy": f"python -m {__spec__.name}", "source": source, "spec": schema}
    return json.dumps(content, indent=1) + "\n"


def _pruned(node: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without descriptions and without the properties that are not in `fields`."""
    kept = {key: value for key, value in node.items() if key not in ("description", "default")}
    if "items" in node:
        return {**kept, "items": _pruned(node["items"], fields)}
    if "properties" in node:
        properties = node["properties"]
        kept["properties"] = {name: _pruned(properties[name], inner) for name, inner in fields.items()}
    if rules := kept.get("x-kubernetes-validations"):
        kept["x-kubernetes-validations"] = [{"rule": rule["rule"], "message": rule["message"]} for rule in rules]
    return kept


if __name__ == "__main__":
    Path(RULES_FILE).write_text(text(), encoding="utf-8")
