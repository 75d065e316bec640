"""A server of the standard library that answers in a thread for as long as a test needs it."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def answering(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve until the end of the block, then close."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
