"""Serving side by side with rivals: `python -m benchmarks.serving`."""

from benchmarks.serving.host import machine as machine
