"""The files of runs and models, stored once per content."""

from mlspine.artifacts.service import Artifacts, Entry
from mlspine.artifacts.store import Artifact
from mlspine.artifacts.upload import Upload

__all__ = ["Artifact", "Artifacts", "Entry", "Upload"]
