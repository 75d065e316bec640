"""SQL of artifacts and of content that none has any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlspine.core.types import Struct
from mlspine.ports import Database, Param, Row, Transaction

PAGE_ROWS = 1000
# Everything below "a" sorts from "a/" up to, not including, "a0": '0' comes right after '/'. Paths hold no
# control characters and no U+10FFFF (paths.py), so the next path after "a" is not before "a\x01".
_NEXT, _LAST = "\x01", "\U0010ffff"


class Artifact(Struct, frozen=True, kw_only=True):
    """A file of a run or a model; `digest` is the BLAKE3 of its content."""

    path: str
    digest: str
    size_bytes: int
    created_at_ms: int


def find(db: Database | Transaction, path: str) -> Artifact | None:
    rows = db.read("select * from artifact where path = :path", path=path)
    return Artifact(**rows[0]) if rows else None


def put(tx: Transaction, artifact: Artifact) -> None:
    """Add it, or give the one of that path this content."""
    tx.execute(
        "insert into artifact (path, digest, size_bytes, created_at_ms)"
        " values (:path, :digest, :size_bytes, :created_at_ms)"
        " on conflict (path) do update set digest = :digest, size_bytes = :size_bytes, created_at_ms = :created_at_ms",
        path=artifact.path,
        digest=artifact.digest,
        size_bytes=artifact.size_bytes,
        created_at_ms=artifact.created_at_ms,
    )


def first_of(db: Database | Transaction, paths: Iterable[str]) -> str:
    """The first of these paths that is a file, "" when none is."""
    wanted: dict[str, Param] = {f"path_{n}": path for n, path in enumerate(paths)}
    if not wanted:
        return ""
    names = ", ".join(f":{name}" for name in wanted)
    rows = db.read(f"select min(path) as path from artifact where path in ({names})", **wanted)
    return rows[0]["path"] or ""


def is_directory(db: Database | Transaction, path: str) -> bool:
    return bool(_page(db, after=f"{path}/", end=f"{path}0", limit=1))


def below(db: Database | Transaction, directory: str) -> Iterator[Artifact]:
    """Every file below a directory, "" for the root, by path."""
    after, end = _range(directory)
    while rows := _page(db, after=after, end=end, limit=PAGE_ROWS):
        yield from (Artifact(**row) for row in rows)
        after = rows[-1]["path"] + _NEXT


def children(db: Database, directory: str) -> Iterator[Artifact | str]:
    """What lies right in a directory, by name: files, and the names of its subdirectories.

    A subdirectory larger than a page is stepped over, so a root above many runs is not read whole.
    """
    first, end = _range(directory)
    after, seen = first, ""
    while rows := _page(db, after=after, end=end, limit=PAGE_ROWS):
        for row in rows:
            name, inside, _ = row["path"][len(first) :].partition("/")
            if not inside:
                yield Artifact(**row)
            elif name != seen:
                yield name
                seen = name
        after = f"{first}{name}0" if inside else rows[-1]["path"] + _NEXT


def weigh(db: Database, directory: str) -> tuple[int, int]:
    """Files below a directory, and their bytes."""
    first, end = _range(directory)
    rows = db.read(
        "select count(*) as files, coalesce(sum(size_bytes), 0) as size_bytes from artifact"
        " where path >= :first and path < :end",
        first=first,
        end=end,
    )
    return int(rows[0]["files"]), int(rows[0]["size_bytes"])


def delete(tx: Transaction, path: str, *, at_ms: int) -> int:
    """Remove a file, or everything below a directory; content left over by that is noted. Returns how many went."""
    gone = "(path = :path or (path >= :first and path < :end))"
    first, end = _range(path)
    tx.execute(
        "insert into artifact_leftover (digest, since_at_ms)"
        " select going.digest, cast(:at_ms as bigint)"
        f" from (select distinct digest from artifact where {gone}) going"
        f" where not exists (select 1 from artifact kept where kept.digest = going.digest and not {gone})"
        " on conflict (digest) do nothing",
        path=path,
        first=first,
        end=end,
        at_ms=at_ms,
    )
    return tx.execute(f"delete from artifact where {gone}", path=path, first=first, end=end)


# ---------------------------------------------------------------- content


def is_content(db: Database | Transaction, digest: str) -> bool:
    """Whether an artifact has it."""
    return bool(db.read("select 1 as one from artifact where digest = :digest limit 1", digest=digest))


def contents(db: Database, first_digits: str) -> set[str]:
    """The content of artifacts whose digest begins like this."""
    rows = db.read(
        "select distinct digest from artifact where digest >= :first and digest < :end",
        first=first_digits,
        end=first_digits + "g",  # after every hexadecimal digit
    )
    return {row["digest"] for row in rows}


def is_leftover(db: Database, digest: str) -> bool:
    return bool(db.read("select 1 as one from artifact_leftover where digest = :digest", digest=digest))


def leftovers(db: Database, *, until_at_ms: int) -> list[str]:
    """Content noted as left over by then, oldest first."""
    rows = db.read(
        "select digest from artifact_leftover where since_at_ms <= :until order by since_at_ms, digest",
        until=until_at_ms,
    )
    return [row["digest"] for row in rows]


def note_leftover(tx: Transaction, digest: str, *, at_ms: int) -> None:
    """Content that no artifact has is left over from now on, unless it has been longer."""
    tx.execute(
        "insert into artifact_leftover (digest, since_at_ms) values (:digest, :at_ms) on conflict (digest) do nothing",
        digest=digest,
        at_ms=at_ms,
    )


def wanted(tx: Transaction, digest: str) -> None:
    """Content is not left over any more."""
    tx.execute("delete from artifact_leftover where digest = :digest", digest=digest)


def take_leftover(tx: Transaction, digest: str, *, until_at_ms: int) -> bool:
    """Whether content has been left over since then without a break; its note is gone if so."""
    taken = tx.execute(
        "delete from artifact_leftover where digest = :digest and since_at_ms <= :until"
        " and not exists (select 1 from artifact where artifact.digest = :digest)",
        digest=digest,
        until=until_at_ms,
    )
    return taken == 1


# ---------------------------------------------------------------- inside


def _range(directory: str) -> tuple[str, str]:
    return (f"{directory}/", f"{directory}0") if directory else ("", _LAST)


def _page(db: Database | Transaction, *, after: str, end: str, limit: int) -> list[Row]:
    return db.read(
        "select * from artifact where path >= :after and path < :end order by path limit :limit",
        after=after,
        end=end,
        limit=limit,
    )
