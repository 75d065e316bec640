"""Comparing tables without a server: `profile` counts one, `drift` says how another differs from it."""

from mlspine.comparing.drifting import Drift, drift
from mlspine.comparing.profiles import Profile
from mlspine.comparing.profiling import profile

__all__ = ["Drift", "Profile", "drift", "profile"]
