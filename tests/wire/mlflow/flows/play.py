"""Play flows in one process: `python play.py experiments runs ...`, against MLFLOW_TRACKING_URI.

A flow that raises, or that lasts longer than a minute and a half, is told as a step named "the flow itself".
"""

from __future__ import annotations

import importlib
import signal
import sys
import warnings

from step import begin, step

FLOW_TIMEOUT_S = 90


def too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {FLOW_TIMEOUT_S} s")


def play(flow: str) -> None:
    begin(flow)
    signal.alarm(FLOW_TIMEOUT_S)
    step("the flow itself", importlib.import_module(flow).main)
    signal.alarm(0)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, too_long)
    for name in sys.argv[1:]:
        play(name)
