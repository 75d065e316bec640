"""What MLflow finds by its entry points. Loaded with every `import mlflow`, hence nothing is imported up here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlspine.mlflow_plugin.files import SpineFiles
    from mlspine.mlflow_plugin.stores import RegistryStore, TrackingStore


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> TrackingStore:
    """The tracking store of an `mlspine:` URI. `artifact_uri` is MLflow's own default, which is not used here."""
    from mlspine.mlflow_plugin.stores import TrackingStore

    return TrackingStore(store_uri)


def registry_store(store_uri: str, tracking_uri: str | None = None) -> RegistryStore:
    """The model registry of an `mlspine:` URI: that of the same workspace."""
    from mlspine.mlflow_plugin.stores import RegistryStore

    return RegistryStore(store_uri)


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> SpineFiles:
    """The files below an `mlspine-artifacts:` URI."""
    from mlspine.mlflow_plugin.files import SpineFiles

    return SpineFiles(artifact_uri, tracking_uri=tracking_uri, registry_uri=registry_uri)


class RunContext:
    """What a run records by itself, see `mlflow_plugin/context.py`."""

    def in_context(self) -> bool:
        """Whether the run is going to a store of ours."""
        from mlspine.mlflow_plugin.context import is_ours

        return is_ours()

    def tags(self) -> dict[str, str]:
        from mlspine.mlflow_plugin.context import tags

        return tags()
