"""The heartbeat's own thread."""

from __future__ import annotations

import logging
import threading

from mlspine.core.errors import MlspineError
from mlspine.machines.service import BEAT_S, Machines

log = logging.getLogger(__name__)


class Pulse:
    """Beats every BEAT_S beside the schedule, so that a long task costs the machine neither its life nor its lease."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_stopped, name="pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End, and give the lease back."""
        self._stop.set()
        self._thread.join(timeout=30.0)
        try:
            self._machines.leave()
        except MlspineError as exc:
            log.warning("the lease could not be given back; it expires by itself", extra={"why": str(exc)})

    def _beat_until_stopped(self) -> None:
        failing = False
        while not self._stop.wait(BEAT_S):
            try:
                self._machines.beat()
                failing = False
            except Exception as exc:  # noqa: BLE001 - a machine whose heart stops for good would never lead again
                if not failing:
                    log.warning("no heartbeat", extra={"why": str(exc)})
                failing = True
