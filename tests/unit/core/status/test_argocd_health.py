"""The health check that Argo CD runs.

It runs in Lua 5.1 with the few libraries that Argo CD provides.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51

from tests.support.gitops_cases import CASES, stored, walk

FOLDER = Path(__file__).resolve().parents[4] / "integrations/argocd"
SCRIPT = (FOLDER / "health.lua").read_text()
MISSING = ("string", "math", "io", "debug", "coroutine", "python", "os", "package", "require", "dofile", "loadfile")


def table(lua: lua51.LuaRuntime, value: Any) -> Any:
    """Return a parsed JSON value as a Lua value."""
    if isinstance(value, dict):
        return lua.table_from({key: table(lua, each) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return lua.table_from([table(lua, each) for each in value])
    return value


def health(obj: dict[str, Any]) -> tuple[str, str]:
    """Return (health, message) of an object."""
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    scope = lua.globals()
    for name in MISSING:
        scope[name] = None
    scope["obj"] = table(lua, obj)
    result = lua.execute(SCRIPT)
    return result["status"], result["message"]


def condition(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((each for each in obj["status"].get("conditions", ()) if each["type"] == kind), {})


@pytest.mark.parametrize("name", CASES)
def test_health(name: str) -> None:
    case = CASES[name]
    obj = stored(case.made())
    found, message = health(obj)
    assert found == case.argo, (message, obj["status"])
    assert message
    if found == "Degraded":
        stalled = condition(obj, "Stalled")
        assert message == f"{stalled['reason']}: {stalled['message']}"


def test_objects_that_no_operator_has_looked_at() -> None:
    bare = {"metadata": {"generation": 1}, "spec": {}}
    assert health(bare)[0] == "Progressing"
    for status in ({}, {"observedGeneration": 1}, {"observedGeneration": 1, "conditions": []}, {"conditions": []}):
        assert health({**bare, "status": status})[0] == "Progressing"


def test_healthy_says_no_more_than_ready_all_along_a_life() -> None:
    seen = set()
    for obj in walk():
        found, _ = health(obj)
        current = obj["status"].get("observedGeneration") == obj["metadata"]["generation"]
        ready = current and condition(obj, "Ready").get("status") == "True"
        paused = bool(obj["spec"].get("paused"))
        assert (found == "Healthy") == (ready and not paused), obj["status"]
        assert found != "Degraded", "nothing failed"
        assert paused or found != "Suspended"
        seen.add(found)
    assert seen == {"Healthy", "Progressing", "Suspended"}


def test_the_settings_to_patch_in_hold_the_same_script() -> None:
    settings = yaml.safe_load((FOLDER / "argocd-cm.yaml").read_text())
    assert settings["metadata"] == {"name": "argocd-cm"}
    assert settings["data"] == {"resource.customizations.health.sluicegate.dev_ModelDeployment": SCRIPT}
