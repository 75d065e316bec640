"""A bucket of its own on an S3-compatible server, which the first test that needs one starts on a free port."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import urllib.request
import uuid
from collections.abc import Iterator
from unittest import mock

from tests.needs import need

# Any credentials do for that server; without them the client would look for a role of this machine.
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@contextlib.contextmanager
def s3_bucket() -> Iterator[tuple[str, str]]:
    """URL of an empty place and the endpoint that serves it; the credentials are in the environment meanwhile."""
    endpoint = _server()
    bucket = f"test-{uuid.uuid4().hex}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT"), timeout=10).close()
    with mock.patch.dict(os.environ, KEYS):
        yield f"s3://{bucket}/some/place", endpoint


@functools.cache
def _server() -> str:
    """Started once per process of the test run, and ended with it: its threads are daemons."""
    try:
        from moto.server import ThreadedMotoServer
    except ImportError as exc:
        need("s3", False, str(exc))
        raise
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"
