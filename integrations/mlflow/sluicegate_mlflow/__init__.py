"""The plugin for `mlflow deployments` with the target `sluicegate`.

MLflow loads `sluicegate_mlflow.plugin`. This module imports nothing, so the modules that do not need MLflow can be
tested without it.
"""

__version__ = "0.1.0"
