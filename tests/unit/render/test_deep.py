"""Deep objects that are within the limits of decoding.

All later code must handle them, up to the record of the revision.
"""

import json
from typing import Any

import pytest
from sluicegate.api.resource import decode
from sluicegate.config.settings import Settings
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.snapshot import parse
from sluicegate.core.snapshot.revision_spec import intent_of
from sluicegate.kube import kinds, wire
from sluicegate.kube.errors import Undecodable
from sluicegate.render import children
from sluicegate.render.diff import difference, fingerprinted
from sluicegate.render.pod import InvalidSpec, pod_template

MODEL = ResolvedModel(uri="image:///opt/model", source="image:///opt/model")
PLACES: dict[str, Any] = {
    "unknown field": lambda deep: {"x": deep},
    "spec": lambda deep: {"spec": deep},
    "fields": lambda deep: {"metadata": {"managedFields": [{"fieldsV1": {"f:a": deep}}]}},
    "environment": lambda deep: {"spec": {"containers": [{"name": "model", "env": deep}]}},
}


def nested(levels: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if kind is dict else [value]
    return value


def reconciled(text: bytes) -> str:
    """Return what happens to a ModelDeployment.

    Returns:
        The reason why the operator rejects it, or `Recorded`.
    """
    raw = wire.read_object(text, kinds.MODEL_DEPLOYMENT)
    if isinstance(raw, Undecodable):
        return "Undecodable"
    resource = decode(raw)
    intent = intent_of(resource, MODEL, None)
    try:
        template = pod_template(resource, intent, Settings())
    except InvalidSpec as error:
        return error.problem.reason
    manifest = fingerprinted(children.record(resource, intent, 1, template))
    assert difference(manifest, json.loads(json.dumps(manifest))) is None
    record = wire.read_object(json.dumps(manifest).encode(), kinds.CONTROLLER_REVISION)
    assert not isinstance(record, Undecodable), (
        "a record is deeper than its ModelDeployment and must be readable all the same"
    )
    assert parse.revision(record).hash == intent.hash
    return "Recorded"


def below(frames: int, text: bytes) -> str:
    return below(frames - 1, text) if frames else reconciled(text)


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("levels", [10, 30, 50, 55, 60, 64, 300])
def test_any_depth_ends_in_a_reason(levels: int, place: str, kind: type) -> None:
    manifest = {
        "metadata": {"name": "m", "namespace": "n", "uid": "u", "resourceVersion": "1"},
        "spec": {
            "model": {"uri": "image:///opt/model"},
            "runtime": {"name": "custom", "image": "example/model:1"},
            "podTemplate": PLACES[place](nested(levels, kind)),
        },
    }
    outcome = below(100, json.dumps(manifest).encode())
    if levels >= wire.USER.depth:
        assert outcome == "Undecodable"
    elif levels < 55:
        assert outcome == ("Recorded" if place == "fields" else "InvalidPodTemplate")
