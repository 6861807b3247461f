"""What a model URI can refer to.

`str` gives the URI in its canonical form, and `uri.parse` reads it back. `needs_registry` says whether the operator
must ask the MLflow registry what a reference means now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True, slots=True)
class RegistryVersion:
    """`models:/NAME/3`: one model version, which never changes."""

    name: str
    version: int
    needs_registry: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class RegistryAlias:
    """`models:/NAME@ALIAS`: the version that has the alias now."""

    name: str
    alias: str
    needs_registry: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"models:/{self.name}@{self.alias}"


@dataclass(frozen=True, slots=True)
class RegistryStage:
    """`models:/NAME/Production`: the highest version in a stage.

    `stage` is spelled as MLflow spells it.
    """

    name: str
    stage: str
    needs_registry: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"models:/{self.name}/{self.stage}"


@dataclass(frozen=True, slots=True)
class RegistryLatest:
    """`models:/NAME/latest`: the highest version of all."""

    name: str
    needs_registry: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"models:/{self.name}/latest"


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """`models:/m-ID`: a model logged by MLflow 3, registered or not."""

    model_id: str
    needs_registry: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"models:/{self.model_id}"


@dataclass(frozen=True, slots=True)
class RunArtifact:
    """`runs:/RUN-ID/PATH`: an artifact of a run.

    It may also be a model that the run logged under that name.
    """

    run_id: str
    path: str
    needs_registry: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"runs:/{self.run_id}/{self.path}"


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Artifacts by address: `mlflow-artifacts:/`, `s3://`, `gs://` and others.

    The other schemes are those of Azure, and `https://`. The operator has to ask no registry. The fetch container still
    reads `mlflow-artifacts:/` from the tracking server of the model's registry.
    """

    uri: str
    scheme: str
    needs_registry: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True, slots=True)
class Volume:
    """`pvc://CLAIM/PATH`: a folder of a volume.

    `path` is relative, and empty for the whole volume.
    """

    claim: str
    path: str
    needs_registry: ClassVar[bool] = False

    def __str__(self) -> str:
        return f"pvc://{self.claim}/{self.path}"


@dataclass(frozen=True, slots=True)
class Baked:
    """`image:///PATH`: a folder of the serving image. `path` is absolute."""

    path: str
    needs_registry: ClassVar[bool] = False

    def __str__(self) -> str:
        return f"image://{self.path}"


ModelRef: TypeAlias = (
    RegistryVersion
    | RegistryAlias
    | RegistryStage
    | RegistryLatest
    | LoggedModel
    | RunArtifact
    | Artifacts
    | Volume
    | Baked
)
