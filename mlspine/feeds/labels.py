"""Late labels, pulled from where they are put: only what is new is read, and repeats change nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from mlspine.core.errors import Invalid, MlspineError
from mlspine.core.types import LabelReceipt
from mlspine.data.source import Opened, parse_source
from mlspine.feeds import store
from mlspine.feeds.reading import chunks, news
from mlspine.feeds.rhythm import KEPT_ARRIVALS, stale_after_ms
from mlspine.feeds.telling import tell
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Database
from mlspine.predictions.labels import ACCEPTED, total
from mlspine.predictions.service import Predictions

ROLE = "labels"
_TEXTS = ("id", "key", "label")


class LabelFeeds:
    """Pulls the label feed of one model at a time."""

    def __init__(
        self,
        *,
        db: Database,
        predictions: Predictions,
        monitoring: Monitoring,
        root: Path,
        clock: Callable[[], int],
    ) -> None:
        self._db = db
        self._predictions = predictions
        self._monitoring = monitoring
        self._root = root
        self._clock = clock

    def pull(self, model: str, text: str) -> LabelReceipt:
        """Hand over what is new; what became of it. Raises what reading or the labels themselves raise, after it
        has been remembered and told: nothing of a feed that fails is taken for read."""
        before = store.memory(self._db, model, ROLE, text)
        now_ms = self._clock()
        try:
            source = parse_source(text)
            with news(source, before, root=self._root, texts=_TEXTS, now_ms=now_ms) as found:
                after = msgspec.structs.replace(before, failure="", last_read_at_ms=now_ms)
                receipt = total(model, [])
                arrived: tuple[int, ...] = ()
                if found is not None:
                    receipt = self._take(model, found.table, text)
                    after = msgspec.structs.replace(after, marks=found.marks, rows=found.table.rows)
                    # A file written again with the same labels is no news.
                    arrived = found.arrived_at_ms if receipt.read > receipt.duplicates else ()
        except MlspineError as exc:
            self._keep(model, msgspec.structs.replace(before, failure=exc.message, last_read_at_ms=now_ms), ())
            raise
        self._keep(model, after, arrived)
        return receipt

    def _take(self, model: str, table: Opened, text: str) -> LabelReceipt:
        _check(table)
        receipts = []
        for start, stop in chunks(table):
            columns = {name: values for name, values in table.chunk(start, stop).items() if name in ACCEPTED}
            receipts.append(self._predictions.add_label_table(model, columns, source=f"feed {text}"))
        return total(model, receipts)

    def _keep(self, model: str, memory: store.Memory, arrived: tuple[int, ...]) -> None:
        with self._db.write() as tx:
            store.add_arrivals(tx, model, ROLE, arrived, keep=KEPT_ARRIVALS)
            times = store.arrivals(self._db, model, ROLE)
            limit_ms = stale_after_ms(times)
            silent_ms = memory.last_read_at_ms - times[-1] if times else 0
            if not memory.failure and limit_ms is not None and silent_ms > limit_ms:
                days = f"{silent_ms / 86_400_000:.1f} days; until now it was {limit_ms / 172_800_000:.1f} at most"
                memory = msgspec.structs.replace(memory, failure=f"no new label for {days}")
            store.remember(tx, model, ROLE, memory)
        title, action = "its label feed is not well", f"mlspine feeds {model} --pull"
        tell(self._monitoring, model, ROLE, title, memory.failure, action=action, severity="WARNING")


def _check(table: Opened) -> None:
    if "label" in table.names and ("id" in table.names or "key" in table.names):
        return
    raise Invalid(
        f"the label feed has the columns {', '.join(table.names[:20])}",
        hint="it needs id or key, label, and optionally label_time: rename them with SQL, "
        'e.g. --labels "select order_id as key, paid as label from ..."',
    )
