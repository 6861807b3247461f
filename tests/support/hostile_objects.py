"""JSON of objects that must not be decoded, or that do not fit their kind."""

import json
from typing import Any

from sluicegate.kube.kinds import Kind
from sluicegate.kube.wire import limits_of

VALUES = {
    "deep object": '{"a":' * 1200 + "1" + "}" * 1200,
    "deeper list": "[" * 9000 + "]" * 9000,
    "surrogate": r'"\ud800"',
    "infinity": "1e999",
    "not a number": "NaN",
    "control character": '"\x01"',
}
"""Field values that make an object undecodable."""
METADATA = {
    "labels": {"labels": {"a": 1}},
    "annotations": {"annotations": {"a": ["b"]}},
    "owners": {"ownerReferences": [1]},
    "version": {"resourceVersion": "twelve"},
    "digits": {"resourceVersion": "9" * 400},
}


def metadata_of(name: str, version: int, **rest: Any) -> dict[str, Any]:
    return {"namespace": "n", "uid": f"uid-{name}", "resourceVersion": str(version), "name": name, **rest}


def good(name: str, version: int) -> bytes:
    return json.dumps({"metadata": metadata_of(name, version), "value": version, "text": '{["'}).encode()


def bad(what: str, name: str, version: int, kind: Kind) -> bytes:
    """Return an object of that name and version, undecodable as `what` says."""
    metadata = json.dumps(metadata_of(name, version))
    if what in METADATA:
        return json.dumps({"metadata": metadata_of(name, version, **METADATA[what]), "value": 1}).encode()
    if what == "bytes":
        return f'{{"metadata":{metadata},"value":"'.encode() + b'\xff\xfe"}'
    if what == "large":
        return f'{{"metadata":{metadata},"value":"{"x" * limits_of(kind).size}"}}'.encode()
    if what == "managed fields":
        deep = VALUES["deep object"]
        return (
            f'{{"metadata":{{"managedFields":[{deep}],{metadata[1:]},"spec":{{"metadata":{{"name":"other"}}}}}}'
        ).encode()
    if what == "transform":
        return f'{{"metadata":{metadata},"value":[1]}}'.encode()
    return f'{{"metadata":{metadata},"value":{VALUES[what]}}}'.encode()


WAYS = (*VALUES, *METADATA, "bytes", "large", "managed fields", "transform")
UNNAMED = (b"{}", b"[]", b"null", b"5", b'{"metadata":[]}', b'{"metadata":{"name":5,"resourceVersion":"7"}}')
