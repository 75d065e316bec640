"""An inference process that waits half a second where others wait many, so that tests need not.

`python -m tests.impatient` takes the arguments of `mlspine.web.inference`.
"""

from __future__ import annotations

import functools
import sys

from mlspine.web import asgi_face, exchange, inference

WAIT_S = 0.5

if __name__ == "__main__":
    from mlspine.web.http1 import server

    server.LOOK_EVERY_S = WAIT_S / 5
    inference.Limits = functools.partial(  # type: ignore[misc,assignment]
        inference.Limits, head_s=WAIT_S, body_s=WAIT_S, idle_s=WAIT_S, stalled_s=WAIT_S
    )
    exchange.BODY_TIMEOUT_S = WAIT_S
    asgi_face.KEEP_ALIVE_S = WAIT_S  # type: ignore[assignment]
    sys.exit(inference.main())
