"""The run that is being logged in this context, "" for none: what is shipped meanwhile came out of it."""

from __future__ import annotations

from contextvars import ContextVar

current_run: ContextVar[str] = ContextVar("mlspine_current_run", default="")
