"""Logged requests answered again by two releases: where they differ, by how much, and which of them was right."""

from mlspine.replaying.found import Replay
from mlspine.replaying.service import Asked, Replaying

__all__ = ["Asked", "Replay", "Replaying"]
