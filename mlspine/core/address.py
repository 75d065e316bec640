"""Addresses a process listens on, and how they are reached from the same machine."""

from __future__ import annotations

import ipaddress

EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def local_url(host: str, port: int) -> str:
    """The URL under which programs on this machine reach what listens on `host`.

    >>> local_url("0.0.0.0", 8080), local_url("::1", 8080), local_url("10.0.0.5", 8080)
    ('http://127.0.0.1:8080', 'http://[::1]:8080', 'http://10.0.0.5:8080')
    """
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
