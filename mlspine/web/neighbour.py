"""Who is at the other end of a connection from this machine: the user its process runs as.

Linux tells by its socket diagnostics (sock_diag(7)): one question for one connection, about 30 us. Elsewhere
nobody can be told.
"""

from __future__ import annotations

import atexit
import functools
import ipaddress
import os
import socket
import struct
import threading

_SOCK_DIAG, _BY_FAMILY = 4, 20
_ANY_STATE, _ANY_COOKIE = 0xFFFFFFFF, b"\xff" * 8
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_UID_AT = _HEADER.size + 4 + 48 + 12  # after family and state, the connection's name, timer and queues
_PATIENCE_S = 1.0
_turn = threading.Lock()


def is_same_user(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether the process that connected from `client` to `server` belongs to the user of this process."""
    return owner_of(client, server) == os.getuid()


def owner_of(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The user id behind a local connection, None when it cannot be told."""
    try:
        return _uid(_asked(_question(client, server)))
    except (AttributeError, OSError, ValueError, struct.error):
        return None


def _question(client: tuple[str, int], server: tuple[str, int]) -> bytes:
    version = ipaddress.ip_address(client[0]).version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    ends = [socket.inet_pton(family, host).ljust(16, b"\0") for host in (client[0], server[0])]
    name = struct.pack("!HH", client[1], server[1]) + b"".join(ends) + struct.pack("=I", 0) + _ANY_COOKIE
    body = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _ANY_STATE) + name
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, 1, 1, 0) + body


def _asked(question: bytes) -> bytes:
    with _turn:
        link = _open_link()
        try:
            link.send(question)
            return link.recv(8192)
        except OSError:
            _open_link.cache_clear()  # a late answer must not be taken for the next one's
            link.close()
            atexit.unregister(link.close)
            raise


@functools.cache
def _open_link() -> socket.socket:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG)
    link.settimeout(_PATIENCE_S)
    atexit.register(link.close)
    return link


def _uid(answer: bytes) -> int | None:
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        return None  # an error: no such connection
    uid, inode = struct.unpack_from("=II", answer, _UID_AT)
    # A connection its process has closed already is nobody's any more, and the kernel calls that user 0.
    return int(uid) if inode else None
