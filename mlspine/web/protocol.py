"""Which HTTP protocol uvicorn speaks for us."""

from __future__ import annotations

from typing import Any


def http_protocol() -> Any:
    """Our own on httptools where there is httptools, else what uvicorn finds."""
    try:
        from mlspine.web.coalesce import CoalescingProtocol
    except ImportError:  # not installed on Windows
        return "auto"
    return CoalescingProtocol
