"""Model URIs: what each form means, and which are rejected.

No other outcome is possible.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import (
    ResolvedModel,
    invalid_uri,
    registry_unknown,
    resolve_locally,
    secret_not_found,
)
from sluicegate.core.models.uri import (
    STAGES,
    Artifacts,
    Baked,
    InvalidModelUri,
    LoggedModel,
    ModelRef,
    RegistryAlias,
    RegistryLatest,
    RegistryStage,
    RegistryVersion,
    RunArtifact,
    Volume,
    parse,
    without_userinfo,
)


@pytest.mark.parametrize(
    ("uri", "ref"),
    [
        ("models:/iris/3", RegistryVersion("iris", 3)),
        ("models:/iris/007", RegistryVersion("iris", 7)),
        ("MODELS:///iris/3", RegistryVersion("iris", 3)),
        ("models:/a name.v2/2147483647", RegistryVersion("a name.v2", 2147483647)),
        ("models:/a%20b/1", RegistryVersion("a%20b", 1)),
        ("models:/a@b/1", RegistryVersion("a@b", 1)),
        ("models:/m-1/1", RegistryVersion("m-1", 1)),
        ("models:/iris@champion", RegistryAlias("iris", "champion")),
        ("models:/iris@Champion", RegistryAlias("iris", "Champion")),
        ("models:/a@b@c", RegistryAlias("a@b", "c")),
        ("models:/iris/pROduction", RegistryStage("iris", "Production")),
        ("models:/iris/none", RegistryStage("iris", "None")),
        ("models:/iris/LATEST", RegistryLatest("iris")),
        ("models:/iris@latest", RegistryLatest("iris")),
        ("models:/m-0123abc", LoggedModel("m-0123abc")),
        ("runs:/0123abc/model", RunArtifact("0123abc", "model")),
        ("runs:/0123abc//a/./b/", RunArtifact("0123abc", "a/b")),
        ("mlflow-artifacts:/0/a b/x", Artifacts("mlflow-artifacts:/0/a b/x", "mlflow-artifacts")),
        ("mlflow-artifacts://h:5000/x", Artifacts("mlflow-artifacts://h:5000/x", "mlflow-artifacts")),
        ("S3://bucket/x", Artifacts("s3://bucket/x", "s3")),
        ("gs://bucket/x@y", Artifacts("gs://bucket/x@y", "gs")),
        ("az://models/x", Artifacts("az://models/x", "az")),
        (
            "wasbs://c@a.blob.core.windows.net/x",
            Artifacts("wasbs://c@a.blob.core.windows.net/x", "wasbs"),
        ),
        ("abfss://c@a.dfs.core.windows.net/x", Artifacts("abfss://c@a.dfs.core.windows.net/x", "abfss")),
        ("HTTPS://host:8443/x.zip", Artifacts("https://host:8443/x.zip", "https")),
        ("pvc://models/a/b/", Volume("models", "a/b")),
        ("pvc://models", Volume("models", "")),
        ("image:///opt//model/", Baked("/opt/model")),
    ],
)
def test_forms(uri: str, ref: ModelRef) -> None:
    assert parse(uri) == ref
    assert parse(str(ref)) == ref


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("iris", "scheme"),
        ("models:iris/3", "slash must follow"),
        ("models:/", "name is missing"),
        ("models:/ /3", "name is missing"),
        ("models:/@a", "name before the @"),
        ("models:/iris", "version, alias or stage is missing"),
        ("models:/iris/", "is not a version"),
        ("models:/iris/champion", "models:/iris@champion"),
        ("models:/iris/²", "is not a version"),
        ("models:/iris/٣", "is not a version"),
        ("models:/iris/2147483648", "2147483647"),
        ("models:/iris/3/sub", "more than one slash"),
        ("models:/iris@", "is not a valid alias"),
        ("models:/iris@a.b", "is not a valid alias"),
        ("models:/iris@v3", "models:/iris/3"),
        ("models:/iris?x=1/3", "question mark"),
        ("models:/a:b/3", "colon"),
        ("models:/../3", "cannot be . or .."),
        ("models:/%2e%2e/3", "cannot be . or .."),
        ("models://registry/iris/3", "spec.model.registry"),
        ("runs:/0123", "path is missing"),
        ("runs:/0123/a/../b", ".."),
        ("runs:/0123/a/%252e%252e/b", ".."),
        ("runs:/0 1/a", "not a valid run ID"),
        ("runs://x/a", "one slash"),
        ("runs:/0123/a#b", "ignores the rest"),
        ("s3:///a", "bucket"),
        ("s3://bucket/", "path is missing"),
        ("s3://bucket/a\\..\\b", ".."),
        ("s3://key:hunter2@bucket/x", "Secret"),
        ("pvc://Models/x", "PersistentVolumeClaim"),
        ("pvc://models/../../etc", ".."),
        ("image://opt/model", "absolute"),
        ("image:////", "path is missing"),
        ("file:///tmp/x", "cannot read a file"),
        ("wasbs://a.blob.core.windows.net/x", "CONTAINER@ACCOUNT"),
        ("wasbs://c:hunter2@a.blob.core.windows.net/x", "CONTAINER@ACCOUNT"),
        ("abfss://c@a.dfs.core.windows.net/", "path is missing"),
        ("az:///x", "bucket after az:// is missing"),
        ("https:///x", "host after https:// is missing"),
        ("https://no host/x", "a host name must follow"),
        ("https://user:hunter2@host/x?sig=hunter2", "Secret"),
        ("https://host/x?sig=hunter2", "contains ?"),
        ("https://user:hun/ter2@host/x", "a host name must follow"),
        ("dbfs:/x", "not supported yet"),
        ("foo:/x", "unknown"),
        ("models:/iris/3\n", "control character"),
        ("s3://bucket/" + "x" * 1024, "at most 1024"),
    ],
)
def test_refused(uri: str, words: str) -> None:
    with pytest.raises(InvalidModelUri) as caught:
        parse(uri)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value) and "ter2" not in str(caught.value)


PIECES = st.sampled_from(
    [
        "models:/",
        "runs:/",
        "s3://",
        "gs://",
        "pvc://",
        "image://",
        "mlflow-artifacts:/",
        "/",
        "@",
        "..",
        "%2e",
        ":",
        "?",
        "latest",
        "Production",
        "m-1",
        "7",
        "a",
        " ",
        "é",
        "\n",
        "#",
        "\\",
        "http://",
        "wasbs://",
        "c@h",
        "\ud800",
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=8).map("".join)))
def test_parse_raises_nothing_else_and_round_trips(uri: str) -> None:
    try:
        ref = parse(uri)
    except InvalidModelUri as error:
        str(error).encode()
        return
    assert parse(str(ref)) == ref
    assert (resolve_locally(ref) is None) == ref.needs_registry


NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/:?"), min_size=1, max_size=40
)
SAFE = NAMES.filter(lambda name: name.strip() not in ("", ".", "..") and "%" not in name and "\\" not in name)


@given(
    SAFE, st.integers(0, 2**31 - 1), st.sampled_from(STAGES), st.from_regex(r"[a-uA-U_-][\w-]{0,20}", fullmatch=True)
)
def test_every_name_works_in_every_form(name: str, version: int, stage: str, alias: str) -> None:
    refs: list[ModelRef] = [RegistryVersion(name, version), RegistryStage(name, stage), RegistryLatest(name)]
    if alias.lower() != "latest":
        refs.append(RegistryAlias(name, alias))
    for ref in refs:
        assert parse(str(ref)) == ref


def test_without_userinfo() -> None:
    assert without_userinfo("http://u:p@h:1/x?token=1") == "http://h:1/x"
    assert without_userinfo("models:/iris@a") == "models:/iris@a"
    assert without_userinfo("wasbs://c@a.blob/x?sig=1") == "wasbs://c@a.blob/x"
    assert without_userinfo("wasbs://c:secret@a.blob/x") == "wasbs://a.blob/x"


def test_local_resolutions_and_failures() -> None:
    assert resolve_locally(parse("pvc://c/a")) == ResolvedModel("pvc://c/a", "pvc://c/a")
    assert resolve_locally(parse("models:/iris/1")) is None
    assert invalid_uri(InvalidModelUri("no")).reason is Reason.INVALID_MODEL_URI
    assert "Available registries: a, b" in registry_unknown("x", ["b", "a"]).message
    assert '"shop"' in secret_not_found("shop", "creds", "default").message
