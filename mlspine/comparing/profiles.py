"""A profile on its own: the counts of some rows, added to others, cut by day, kept in a file."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlspine.comparing.survey import Counted, join
from mlspine.core.errors import Conflict, Corrupt, Invalid, NotFound
from mlspine.core.types import FieldType, Interval, Struct
from mlspine.stats import profile as counting
from mlspine.stats.bins import Reference
from mlspine.stats.calibrate import Limits
from mlspine.stats.natural import DAY_MS
from mlspine.stats.profile import DECODE_HOOK, ENCODER, check_reference
from mlspine.stats.seasons import Seasons

MAGIC = b"mlspine profile 1\n"
Floors = dict[str, dict[str, float]]


class Natural(Struct, frozen=True, kw_only=True, eq=False):
    """How far the columns stray by themselves, as the rows' own time shows it. As in a release's baseline."""

    limits: Limits
    limits_short: Limits
    seasonality: str
    seasons: Seasons | None = None


class FalseAlarms(Struct, frozen=True, kw_only=True):
    """How often windows drawn from the rows themselves are called significant, and the level per column that keeps
    it so."""

    rate: Interval
    critical_p: float | None = None


class Profile(Struct, frozen=True, kw_only=True, eq=False):
    """Counts of some rows on bins of their own, or on those of another profile. Adding two counts both.

    types: column -> type as read. days: the rows of each UTC day, where a time column was named. hours: rows by the
    hour's first millisecond. skipped: columns that cannot be counted, and why.
    """

    source: str
    reference: Reference
    types: dict[str, FieldType]
    time: str | None = None
    from_at_ms: int = 0
    to_at_ms: int = 0
    days: dict[int, counting.Profile] = {}
    hours: dict[int, int] = {}
    natural: Natural | None = None
    false_alarm: FalseAlarms | None = None
    floors: Floors = {}
    skipped: dict[str, str] = {}

    @property
    def rows(self) -> int:
        return self.reference.profile.rows

    @property
    def columns(self) -> tuple[str, ...]:
        return self.reference.names

    def __add__(self, other: Profile) -> Profile:
        """Both sets of rows, with the limits of the first. Raises Conflict when they count on different bins."""
        if self.reference.id != other.reference.id:
            raise Conflict(
                f"{self.source} and {other.source} are counted on different bins, so their counts do not add up",
                hint="count the second on the bins of the first: mlspine.profile(rows, like=first)",
            )
        source = self.source if self.source == other.source else f"{self.source} + {other.source}"
        return msgspec.structs.replace(recounted(self, join(_counted(self), _counted(other))), source=source)

    def between(self, start: str | datetime.date, stop: str | datetime.date) -> Profile:
        """The rows of the UTC days from `start` up to, not including, `stop`, without reading them again.

        Raises Conflict when the profile was made without a time column, Invalid when no row is in those days.
        """
        if not self.days:
            raise Conflict(
                f"{self.source} was profiled without a time column", hint="mlspine.profile(rows, time='COLUMN')"
            )
        first, last = _day_ms(start), _day_ms(stop)
        kept = {day: found for day, found in self.days.items() if first <= day < last}
        if not kept:
            raise Invalid(f"{self.source} has no rows from {start} up to {stop}", details=[_span(self)])
        whole = counting.empty(self.reference)
        for found in kept.values():
            whole = counting.merge(whole, found)
        hours = {hour: rows for hour, rows in self.hours.items() if hour // DAY_MS * DAY_MS in kept}
        from_at_ms, to_at_ms = max(self.from_at_ms, min(kept)), min(self.to_at_ms, max(kept) + DAY_MS)
        return recounted(self, Counted(whole, kept, hours, from_at_ms, to_at_ms))

    def save(self, path: str | Path) -> Path:
        """Write it to a file: a few hundred bytes per column, and per column and day."""
        path = Path(path).expanduser()
        path.write_bytes(MAGIC + _ENCODER.encode(self))
        return path

    @staticmethod
    def load(path: str | Path) -> Profile:
        """Read a saved profile. Raises NotFound when it is not there, Corrupt when it is damaged."""
        path = Path(path).expanduser()
        if not path.is_file():
            raise NotFound(f"no profile {path}")
        data = path.read_bytes()
        if not data.startswith(MAGIC):
            raise Corrupt(f"{path} is no profile", hint="save one with mlspine.profile(rows).save(path)")
        try:
            found = _DECODER.decode(data[len(MAGIC) :])
        except (msgspec.MsgspecError, ValueError, TypeError) as exc:
            raise Corrupt(f"{path} is damaged: {exc}") from exc
        check_reference(found.reference)
        return found

    def __str__(self) -> str:
        from mlspine.comparing.words import profile_text

        return profile_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from mlspine.comparing.words import profile_html

        return profile_html(self)


# Days and hours are numbers, which the encoder of references does not take for keys; they stand in order anyway.
_ENCODER = msgspec.msgpack.Encoder(enc_hook=ENCODER.enc_hook)
_DECODER = msgspec.msgpack.Decoder(Profile, dec_hook=DECODE_HOOK)


def recounted(profile: Profile, counted: Counted) -> Profile:
    """The same bins with other rows counted on them."""
    return msgspec.structs.replace(
        profile,
        reference=msgspec.structs.replace(profile.reference, profile=counted.whole),
        days=counted.days,
        hours=counted.hours,
        from_at_ms=counted.from_at_ms,
        to_at_ms=counted.to_at_ms,
    )


def is_saved(data: Any) -> bool:
    """Whether this is the path of a saved profile."""
    if not isinstance(data, str | Path) or "\n" in str(data):
        return False
    path = Path(data).expanduser()
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _counted(profile: Profile) -> Counted:
    return Counted(profile.reference.profile, profile.days, profile.hours, profile.from_at_ms, profile.to_at_ms)


def _day_ms(day: str | datetime.date) -> int:
    try:
        return int(np.datetime64(day, "D").astype(np.int64)) * DAY_MS
    except ValueError:
        raise Invalid(f"{day!r} is no day", hint="write it as 2026-01-31") from None


def _span(profile: Profile) -> str:
    first, last = (np.datetime64(at, "ms").astype("datetime64[D]") for at in (profile.from_at_ms, profile.to_at_ms - 1))
    return f"it has rows from {first} to {last}"
