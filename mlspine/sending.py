"""A release on its way to a server: in pieces, going on where an earlier try ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from mlspine.core.ids import SHORT_HASH
from mlspine.registry.parcel import pack
from mlspine.remote import ApiClient, Held

PIECE_BYTES = 4 * 1024 * 1024


def send_release(client: ApiClient, path: Path, tell: Callable[[str], None]) -> None:
    """Bring a release to the server, in pieces; what it holds already is not sent again.

    tell: hears in words what is going on.
    """
    packed = pack(path)
    told = _held(client.post("/uploads", msgspec.to_builtins(packed.manifest)))
    if told.complete:
        tell(f"{client.url} holds release {packed.hash[:SHORT_HASH]} already")
        return
    total, held = sum(packed.manifest.sizes.values()), sum(told.bytes.values())
    kept = f", {held / 1e3:,.0f} of it are there already" if held else ""
    tell(f"sending release {packed.hash[:SHORT_HASH]} ({total / 1e3:,.0f} kB{kept}) to {client.url}")
    for digest, file in packed.files.items():
        _send_part(client, f"/uploads/{packed.hash}/{digest}", file, told.bytes[digest])
    client.post(f"/uploads/{packed.hash}", {})


def _send_part(client: ApiClient, path: str, file: Path, at: int) -> None:
    with file.open("rb") as source:
        source.seek(at)
        while piece := source.read(PIECE_BYTES):
            client.put(f"{path}?at={at}", piece)
            at += len(piece)


def _held(payload: bytes) -> Held:
    return msgspec.json.decode(payload, type=Held)
