"""mlspine: from a fitted model to a monitored, reversible production endpoint.

    import mlspine
    mlspine.ship(model, X_train, y_train, name="churn")

Names are resolved on first use, so importing the package costs a few milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlspine.active_run import log
    from mlspine.api import ModelVersion, Workspace, open, ship
    from mlspine.client import Client, Predictions
    from mlspine.comparing import Profile, drift, profile

__version__ = "0.1.0.dev0"
__all__ = [
    "Client",
    "ModelVersion",
    "Predictions",
    "Profile",
    "Workspace",
    "drift",
    "log",
    "open",
    "profile",
    "ship",
]


def __getattr__(name: str) -> Any:
    if name == "log":
        from mlspine.active_run import log

        return log
    if name in ("Profile", "drift", "profile"):
        from mlspine import comparing

        return getattr(comparing, name)
    if name in ("Client", "Predictions"):
        from mlspine import client

        return getattr(client, name)
    if name in __all__:
        from mlspine import api

        return getattr(api, name)
    raise AttributeError(f"module 'mlspine' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
