"""Parsing of the model URI that a user writes.

`models:/` and `runs:/` follow MLflow's own rules (mlflow 3.17 `store/artifact/utils/models.py` and
`runs_artifact_repo.py`), so that a URI that works in `mlflow.pyfunc.load_model` means the same here. The operator is
stricter in one direction only. It rejects with a message what MLflow would misread or silently cut off: a query,
control characters, or a host after `models://`.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from sluicegate.core.models.reference import (
    Artifacts,
    Baked,
    LoggedModel,
    ModelRef,
    RegistryAlias,
    RegistryLatest,
    RegistryStage,
    RegistryVersion,
    RunArtifact,
    Volume,
)

__all__ = [
    "FORMS",
    "MAX_LENGTH",
    "MAX_VERSION",
    "STAGES",
    "Artifacts",
    "Baked",
    "InvalidModelUri",
    "LoggedModel",
    "ModelRef",
    "RegistryAlias",
    "RegistryLatest",
    "RegistryStage",
    "RegistryVersion",
    "RunArtifact",
    "Volume",
    "has_traversal",
    "parse",
    "without_userinfo",
]

FORMS: Final = (
    "models:/NAME/VERSION, models:/NAME@ALIAS, models:/NAME/STAGE, models:/NAME/latest, "
    "models:/MODEL-ID, runs:/RUN-ID/PATH, "
    "mlflow-artifacts:/PATH, s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, "
    "wasbs:// or abfss://CONTAINER@ACCOUNT-HOST/PATH, "
    "https://HOST/PATH, pvc://CLAIM/PATH, or image:///PATH"
)
STAGES: Final = ("None", "Staging", "Production", "Archived")
MAX_LENGTH: Final = 1024
MAX_VERSION: Final = 2**31 - 1
"""The largest version number. The registry's column is a 32-bit integer, and a larger number makes the server fail with
500 instead of 404."""

_STAGE_BY_LOWER: Final = {stage.lower(): stage for stage in STAGES}
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ALIAS: Final = re.compile(r"[\w-]{1,255}")  # mlflow utils/validation.py
_RESERVED_ALIAS: Final = re.compile(r"[vV]\d+")
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][\w-]{0,255}", re.ASCII)
_MODEL_ID: Final = re.compile(r"m-[\w-]{1,253}", re.ASCII)
_CLAIM: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_NOT_YET: Final = frozenset({"dbfs", "hdfs", "ftp", "sftp", "r2", "b2", "uc"})
_AZURE: Final = frozenset({"wasb", "wasbs", "abfs", "abfss"})
_AZURE_PLACE: Final = re.compile(r"[a-z0-9$-]+@[A-Za-z0-9.-]+")
_WEB: Final = frozenset({"http", "https"})
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?")


class InvalidModelUri(ValueError):
    """A URI that names no model.

    The message is a sentence that says what is wrong and what is allowed.
    """


def parse(uri: str) -> ModelRef:
    """Parse `uri` into what it refers to.

    Percent escapes stay as they are, as in MLflow: `models:/a%20b/1` is a model called `a%20b`.

    Raises:
        InvalidModelUri: The URI names nothing that can be served. This function raises no other exception.
    """
    if len(uri) > MAX_LENGTH:
        raise InvalidModelUri(f"The model URI has {len(uri)} characters: use at most {MAX_LENGTH}.")
    if _CONTROL.search(uri):
        raise _invalid(uri, "it contains a control character or a line break")
    if not uri.strip():
        raise InvalidModelUri(f"The model URI is empty. Allowed: {FORMS}.")
    scheme, colon, rest = uri.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme):
        raise _invalid(uri, "it does not start with a scheme such as models:/")
    scheme = scheme.lower()
    if not rest.startswith("/"):
        raise _invalid(uri, f"a slash must follow {scheme}:")
    match scheme:
        case "models":
            return _models(uri, rest)
        case "runs":
            return _runs(uri, rest)
        case "mlflow-artifacts" | "s3" | "gs" | "az" | "wasb" | "wasbs" | "abfs" | "abfss" | "http" | "https":
            return _artifacts(uri, scheme, rest)
        case "pvc":
            return _volume(uri, rest)
        case "image":
            return _baked(uri, rest)
        case "file":
            raise _invalid(uri, "a pod cannot read a file of this machine; use pvc://CLAIM/PATH or image:///PATH")
        case _ if scheme in _NOT_YET:
            raise _invalid(
                uri,
                f"{scheme}:// is not supported yet; register the model in MLflow, or copy it to s3:// or a volume",
            )
    raise _invalid(uri, f"the scheme {scheme}: is unknown")


def without_userinfo(uri: str) -> str:
    """Return `uri` without user name, password and query, so that it is safe to show.

    Every URI in a message goes through this function. A presigned URL has its secret in the query.
    """
    head, separator, rest = uri.partition("://")
    if not separator:
        return uri.partition("?")[0]
    if head.lower() in _AZURE and _AZURE_PLACE.fullmatch(rest.partition("/")[0]):
        return uri.partition("?")[0]  # The text before the @ is the container.
    return f"{head}://{rest.rpartition('@')[2]}".partition("?")[0]


def has_traversal(path: str) -> bool:
    """Tell whether `path` leaves its root by `..`, even encoded or with backslashes.

    Percent encoding is checked up to three levels deep, because a fetcher or a server further on may decode what MLflow
    does not.
    """
    text = path
    for _ in range(4):
        if any(part.strip() == ".." for part in text.replace("\\", "/").split("/")):
            return True
        text = unquote(text)
    return False


def _invalid(uri: str, problem: str) -> InvalidModelUri:
    shown = _CONTROL.sub("\ufffd", without_userinfo(uri))
    return InvalidModelUri(f'The model URI "{shown}" cannot be used: {problem}. Allowed: {FORMS}.')


def _models(uri: str, rest: str) -> ModelRef:
    """Parse the rest of a `models:/` URI as MLflow's `_parse_model_uri` does.

    It has one or two segments. A suffix of digits is a version, `latest` is the highest version, and any other suffix
    is a stage.
    """
    if rest.startswith("//") and not rest.startswith("///"):
        raise _invalid(uri, "write models:/ with one slash, and name the registry in spec.model.registry")
    if "?" in rest:
        raise _invalid(uri, "it contains a question mark, and MLflow ignores the rest")
    parts = rest.lstrip("/").split("/")
    if len(parts) > 2:
        raise _invalid(uri, "more than one slash follows the model name")
    if ":" in parts[0] or has_traversal(parts[0]) or parts[0].strip() == ".":
        raise _invalid(uri, "a model name cannot contain a colon, and cannot be . or ..")
    if not parts[0].strip():
        raise _invalid(uri, "the model name is missing")
    if len(parts) == 2:
        return _suffixed(uri, *parts)
    name, at, alias = parts[0].rpartition("@")
    if at:
        return _aliased(uri, name, alias)
    if not _MODEL_ID.fullmatch(parts[0]):
        raise _invalid(uri, "the version, alias or stage is missing (the ID of a logged model starts with m-)")
    return LoggedModel(parts[0])


def _suffixed(uri: str, name: str, suffix: str) -> ModelRef:
    if suffix.isascii() and suffix.isdigit():
        digits = suffix.lstrip("0") or "0"
        if len(digits) > 10 or int(digits) > MAX_VERSION:
            raise _invalid(uri, f"a version cannot be larger than {MAX_VERSION}")
        return RegistryVersion(name, int(digits))
    if suffix.lower() == "latest":
        return RegistryLatest(name)
    stage = _STAGE_BY_LOWER.get(suffix.lower())
    if stage is None:
        hint = f"for an alias, write models:/{name}@{suffix}" if _ALIAS.fullmatch(suffix) else "aliases follow an @"
        raise _invalid(
            uri,
            f'"{suffix}" is not a version, latest or one of the stages {", ".join(STAGES)}; {hint}',
        )
    return RegistryStage(name, stage)


def _aliased(uri: str, name: str, alias: str) -> ModelRef:
    if not name.strip():
        raise _invalid(uri, "the model name before the @ is missing")
    if not _ALIAS.fullmatch(alias):
        raise _invalid(uri, f'"{alias}" is not a valid alias; use letters, digits, _ and -')
    if alias.lower() == "latest":  # MLflow reserves this alias, and its server returns the latest version for it.
        return RegistryLatest(name)
    if _RESERVED_ALIAS.fullmatch(alias):
        raise _invalid(
            uri,
            f'MLflow reserves the alias "{alias}"; for a version, write models:/{name}/{alias[1:]}',
        )
    return RegistryAlias(name, alias)


def _runs(uri: str, rest: str) -> ModelRef:
    if rest.startswith("//"):
        raise _invalid(uri, "write runs:/ with one slash")
    if "?" in rest or "#" in rest:
        raise _invalid(uri, "it contains ? or #, and MLflow ignores the rest")
    run_id, _, path = rest[1:].partition("/")
    if not _RUN_ID.fullmatch(run_id):
        raise _invalid(uri, f'"{run_id}" is not a valid run ID')
    return RunArtifact(run_id, _relative(uri, path))


def _artifacts(uri: str, scheme: str, rest: str) -> ModelRef:
    authority, _, path = rest[2:].partition("/") if rest.startswith("//") else ("", "", rest[1:])
    if scheme in _AZURE and not _AZURE_PLACE.fullmatch(authority):
        raise _invalid(
            uri,
            f"CONTAINER@ACCOUNT.blob.core.windows.net must follow {scheme}://, or with dfs instead of blob for abfss",
        )
    if scheme != "mlflow-artifacts" and not authority:
        raise _invalid(uri, f"the {'host' if scheme in _WEB else 'bucket'} after {scheme}:// is missing")
    if scheme in _WEB and "@" not in authority and not _HOST.fullmatch(authority):
        raise _invalid(uri, f"a host name must follow {scheme}://")
    if "@" in authority and scheme not in _AZURE:
        raise _invalid(uri, "credentials do not belong in a URI; put them in a Secret")
    if "?" in rest or "#" in rest:
        raise _invalid(uri, "it contains ? or #, which artifact stores do not support")
    _relative(uri, path)
    return Artifacts(f"{scheme}:{rest}", scheme)


def _volume(uri: str, rest: str) -> ModelRef:
    claim, _, path = rest[2:].partition("/") if rest.startswith("//") else ("", "", "")
    if not _CLAIM.fullmatch(claim):
        raise _invalid(uri, "the name of a PersistentVolumeClaim must follow pvc://")
    return Volume(claim, _relative(uri, path) if path.strip("/") else "")


def _baked(uri: str, rest: str) -> ModelRef:
    if not rest.startswith("///"):
        raise _invalid(uri, "an absolute path inside the image must follow image://, such as image:///opt/model")
    return Baked("/" + _relative(uri, rest[3:]))


def _relative(uri: str, path: str) -> str:
    """Return `path` without empty and `.` segments.

    Raises:
        InvalidModelUri: No segment is left, or the path leaves its root.
    """
    if has_traversal(path):
        raise _invalid(uri, "its path must not contain ..")
    kept = [part for part in path.split("/") if part not in ("", ".")]
    if not kept:
        raise _invalid(uri, "its path is missing")
    return "/".join(kept)
