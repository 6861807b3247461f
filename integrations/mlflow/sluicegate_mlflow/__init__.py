"""`mlflow deployments` with the target `sluicegate`.

This module imports nothing: what MLflow loads is `sluicegate_mlflow.plugin`, and the parts without MLflow can be tested alone.
"""

__version__ = "0.1.0"
