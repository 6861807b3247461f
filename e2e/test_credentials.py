"""A registry that requires credentials.

The status names every problem with the credentials, while the old revision serves. No secret value leaks.
"""

import base64
import secrets
import time

import pytest

from e2e.support.gate import GUEST, READER, Gate
from e2e.support.kube import wait_until
from e2e.support.load import Load, predict
from e2e.support.registry import MODEL
from e2e.support.workspace import Workspace

OLD, NEW = f"models:/{MODEL}/1", f"models:/{MODEL}/2"
KEYS = ["MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"]
# Changes to a resource that serves with the Secret "right".
# name: (URI, Secret, path of the registry, reason, parts of the message)
CHANGES = {
    "wrong-password": (NEW, "wrong", "", "RegistryUnauthorized", ["refused the credentials (401)", *KEYS]),
    "no-credentials": (NEW, None, "", "RegistryUnauthorized", ["none are configured", "inlineRegistry.secretRef"]),
    "no-rights": (NEW, "guest", "", "RegistryForbidden", ["(403)", "Give it READ permission"]),
    "no-secret": (NEW, "missing", "", "SecretNotFound", ['"missing"', "Create it", *KEYS]),
    "not-readable": (NEW, "hidden", "", "SecretNotFound", ['"hidden"', "allow the operator to get it with a Role"]),
    "no-keys": (NEW, "empty", "", "SecretInvalid", ['"empty"', "none of the keys", *KEYS]),
    "login-page": (NEW, "right", "/portal", "RegistryInvalidAnswer", ["an HTML page", "tracking URI"]),
    # The version is pinned, so the operator does not query the registry. The registry refuses the pods.
    "pods-refused": (OLD, "wrong", "", "ModelFetchFailed", ["refused the credentials (401)", *KEYS]),
}
IN_SPEC = {"no-credentials", "login-page"}
"""Cases with a fix in the spec. The other cases are fixed in a Secret or a Role."""


def model(gate, uri, secret, path=""):
    return {"uri": uri, "inlineRegistry": gate.registry(secret, path)}


@pytest.fixture(scope="module")
def serving(cluster, kube):
    """Serve version 1 everywhere, then apply each change under load."""
    name = f"e2e-credentials-{secrets.token_hex(2)}"
    kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        space = Workspace(cluster, kube, name)
        gate = Gate(space)
        gate.start()
        gate.login("right", READER, READER)
        gate.login("wrong", READER, "wrong")
        gate.login("guest", GUEST, GUEST)
        gate.login("hidden", READER, READER)
        gate.secret("empty", {"password": gate.passwords[READER]})
        gate.let_operator_read("right", "wrong", "guest", "empty", "missing")
        for case in CHANGES:
            space.apply(case, model=model(gate, OLD, "right"))
        for case in CHANGES:
            space.wait_ready(case, timeout=240)
        urls = {f"{case}/{way}": url for case in CHANGES for way, url in space.urls(case).items()}
        with Load(urls, rate=1) as load:
            for case, (uri, secret, path, _, _) in CHANGES.items():
                space.apply(case, model=model(gate, uri, secret, path))
            yield space, gate, load, time.monotonic()
    finally:
        kube.call("DELETE", f"/api/v1/namespaces/{name}")


def told(space, operator):
    """Return everything that users and programs can read without access to Secrets."""
    there = ("-n", space.namespace)
    logs = ("logs", "--all-containers", "--prefix", "--ignore-errors", "--tail=-1", "--max-log-requests=40", "-l")
    texts = {
        "pods' logs": space.cluster.kubectl(*there, *logs, "sluicegate.dev/deployment"),
        "registry's log": space.cluster.kubectl(*there, *logs, "app=registry"),
        "operator's log": space.cluster.kubectl("-n", "sluicegate-system", *logs, "app.kubernetes.io/name=sluicegate"),
        "operator's metrics": "".join(operator.metrics(pod) for pod in operator.ready_pods()),
    }
    for kind in ("mdep", "events", "pods", "deployments", "controllerrevisions", "httproutes"):
        texts[kind] = space.cluster.kubectl(*there, "get", kind, "-o", "yaml")
    assert [where for where, text in texts.items() if not text] == []
    return texts


def leaks(texts, gate):
    """Yield where a password appears.

    The password may be in plain form, or encoded as in a Secret or a request header.
    """
    for user, password in gate.passwords.items():
        pair = f"{READER if user == 'wrong' else user}:{password}"
        for form in (password, *(base64.b64encode(each.encode()).decode() for each in (password, pair))):
            yield from (f"{user}'s password in {where}" for where, text in texts.items() if form in text)


@pytest.mark.parametrize("name", CHANGES)
def test_refused_change_says_what_to_do_while_the_old_revision_serves(serving, name):
    space, _, load, begun = serving
    *_, reason, words = CHANGES[name]
    condition = space.wait_condition(name, "Ready", "False", reason, timeout=60)
    print(f"{name}, after {time.monotonic() - begun:.1f} s: {condition['reason']}: {condition['message']}")
    assert [word for word in words if word not in condition["message"]] == []
    assert space.condition(name, "Available")["status"] == "True"
    for url in space.urls(name).values():
        assert predict(url) == 1
    assert load.failures == []


def test_no_secret_value_is_told_while_it_fails(serving, operator):
    space, gate, _, _ = serving
    assert list(leaks(told(space, operator), gate)) == []


@pytest.mark.timeout(400, func_only=True)
def test_mending_the_secret_or_the_spec_is_enough(serving, operator):
    space, gate, load, _ = serving
    for name in ("wrong", "guest", "missing", "empty"):
        gate.login(name, READER, READER)
    gate.let_operator_read("right", "wrong", "guest", "empty", "missing", "hidden")
    for case in IN_SPEC:
        space.apply(case, model=model(gate, NEW, "right"))
    begun = time.monotonic()
    for case, (uri, *_) in CHANGES.items():
        status = space.wait_ready(case, timeout=300)
        print(f"{case} is mended after {time.monotonic() - begun:.1f} s")
        assert status["model"]["uri"] == uri
        version = 1 if uri == OLD else 2
        wait_until(f"the gateway to send to version {version}", lambda: predict(status["url"]) == version, 20)  # noqa: B023
    load.stop()
    load.check()
    assert list(leaks(told(space, operator), gate)) == []
