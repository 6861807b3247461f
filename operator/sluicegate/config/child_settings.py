"""Settings of a ModelDeployment's children outside their pods. They apply at once, to existing revisions too."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from sluicegate.api.fields import doc
from sluicegate.config.base import SettingsType

Prefix = Annotated[str, Meta(pattern="^[A-Za-z0-9][-A-Za-z0-9_./]*$", max_length=316)]


class ChildSettings(SettingsType, frozen=True):
    """The children of a ModelDeployment. A change applies at once, and restarts no pod."""

    inherited_labels: Annotated[
        tuple[Prefix, ...],
        doc(
            "Prefixes of label keys, such as `team` or `example.com/`. Labels of a ModelDeployment with such a key are "
            "copied to its children. Pods get them with their revision. Keys of sluicegate.dev and of tools that "
            "manage the ModelDeployment are never copied."
        ),
    ] = ()
    inherited_annotations: Annotated[
        tuple[Prefix, ...], doc("Prefixes of annotation keys, in the same way as inheritedLabels.")
    ] = ()
    pod_disruption_budget: Annotated[
        bool, doc("Create a PodDisruptionBudget for each revision. `false` deletes the existing ones.")
    ] = True
    ip_family_policy: Annotated[
        Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None,
        doc(
            "ipFamilyPolicy of the Services, and of those of the chart. Default: that of the cluster, which is "
            "SingleStack."
        ),
    ] = None
