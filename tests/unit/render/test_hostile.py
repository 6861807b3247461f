"""Hostile strings in a spec, which must stay the strings that they are."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sluicegate.api.model import ModelSpec
from sluicegate.api.resource import Meta, ModelDeployment
from sluicegate.api.runtime import EnvVar, RuntimeSpec
from sluicegate.api.spec import ModelDeploymentSpec
from sluicegate.api.traffic import GatewaySpec, ParentRef, TrafficSpec
from sluicegate.config.settings import RegistrySettings, Settings
from sluicegate.core.decide.decision import decide
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.snapshot.assessment import assess
from sluicegate.core.snapshot.revision_spec import intent_of
from sluicegate.render import children, engine, invariants
from sluicegate.render.pod import pod_template
from sluicegate.simulation.serving import serving_snapshot

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)


REGISTRY = "default"


def manifests(text: str) -> list[dict[str, Any]]:
    """Return all children of a resource that has `text` in every string field.

    The resource bypasses the patterns of the types, so this tests the templates alone.
    """
    gateway = GatewaySpec(parent_refs=(ParentRef(name=text),), hostnames=(text,), path_prefix=text)
    spec = ModelDeploymentSpec(
        model=ModelSpec(uri="models:/a/1"),
        runtime=RuntimeSpec(image=text, args=(text,), env=(EnvVar(name="E", value=text),)),
        pod_template={"metadata": {"annotations": {"a": text}}, "spec": {"nodeSelector": {"n": text}}},
        traffic=TrafficSpec(gateway=gateway),
    )
    resource = ModelDeployment(Meta(name="a", namespace="b", uid="u"), spec)
    registry = RegistrySettings(tracking_uri=text, pod_secret=text, env={"K": text})
    chosen = Settings(scorer_image=text, registries={REGISTRY: registry})
    resolved = ResolvedModel("models:/a/1", "mlflow-artifacts:/1", name=text, version=text, run_id=text)
    intent = intent_of(resource, resolved, REGISTRY)
    template = pod_template(resource, intent, chosen)
    plan = decide(assess(serving_snapshot(resource, [intent], chosen)))
    found = [children.record(resource, intent, 1, template), *children.render(resource, plan, {intent.hash: template})]
    return [anonymous(each, intent.hash) for each in found]


def anonymous(value: Any, revision: str) -> Any:
    """Return `value` without the revision's hash in keys and names.

    Every text has another hash.
    """
    return json.loads(json.dumps(value).replace(revision, "HASH"))


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield from paths(item, (*path, key))


@settings(max_examples=60)
@given(TEXT)
@example("a\nkind: Secret")
@example('"}, x: {y: "')
@example("{{ 7 * 7 }}{% raw %}")
@example("!!python/object:os.system x")
@example("\x85\u2028\U0001f600\ufeff")
def test_a_hostile_string_stays_that_string(text: str) -> None:
    found, harmless = manifests(text), manifests("harmless")
    assert set(paths(found)) == set(paths(harmless))
    pod = next(each for each in found if each["kind"] == "Deployment")["spec"]["template"]
    model = pod["spec"]["containers"][0]
    assert (model["image"], model["args"]) == (text, [text])
    assert {"name": "E", "value": text} in model["env"]
    assert (pod["metadata"]["annotations"]["a"], pod["spec"]["nodeSelector"]["n"]) == (text, text)
    fetch = pod["spec"]["initContainers"][0]
    assert fetch["image"] == text
    assert {"name": "K", "value": text} in fetch["env"]
    assert {"name": "MLFLOW_TRACKING_URI", "value": text} in fetch["env"]
    assert fetch["envFrom"] == [{"secretRef": {"name": text}}]
    route = next(each for each in found if each["kind"] == "HTTPRoute")["spec"]
    assert (route["parentRefs"][0]["name"], route["hostnames"]) == (text, [text])
    assert route["rules"][0]["matches"][0]["path"]["value"] == text


@given(JSON)
def test_a_value_comes_out_of_a_template_as_it_went_in(value: Any) -> None:
    assert engine.render_text("t", "a: {{ value }}\nb: [{{ value }}]", {"value": value}) == {"a": value, "b": [value]}


@pytest.mark.parametrize(
    "text", ["a: x{{ value }}", "a: {{ value }} {{ value }}", "{{ value }}: 1", "a: |\n  {{ value }}"]
)
def test_an_object_inside_a_text_is_refused(text: str) -> None:
    with pytest.raises(engine.TemplateError):
        engine.render_text("t", text, {"value": {"k": "v"}})


@pytest.mark.parametrize("text", ["a: {{ missing }}", "- a", "just text", "", "a: {% if %}"])
def test_a_template_that_gives_no_object_is_refused(text: str) -> None:
    with pytest.raises(engine.TemplateError):
        engine.render_text("t", text, {})


def test_broken_manifests_are_not_sent() -> None:
    found = {manifest["kind"]: manifest for manifest in manifests("x")}
    deployment, route = found["Deployment"], found["HTTPRoute"]
    with pytest.raises(invariants.Broken, match="no owner"):
        invariants.checked({**route, "metadata": {**route["metadata"], "ownerReferences": []}})
    deployment["spec"]["template"]["metadata"]["labels"] = {}
    with pytest.raises(invariants.Broken, match="own pods"):
        invariants.checked(deployment)
    route["spec"]["rules"][0]["backendRefs"][0]["weight"] = 99
    with pytest.raises(invariants.Broken, match="sum to 100"):
        invariants.checked(route)
