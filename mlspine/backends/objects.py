"""BlobStore on S3-compatible storage, with copies on this machine of what is read as files.

Keys go below a prefix of a bucket, with what object stores treat differently from each other written as "=HH".
Credentials are found as usual for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the machine.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit

from mlspine.backends.blob_cache import BlobCache
from mlspine.backends.files import check_key
from mlspine.core.errors import Denied, Invalid, MissingExtra, MlspineError, NotFound, Unavailable

try:
    import obstore
    from obstore import exceptions
    from obstore.store import S3Store
except ImportError as exc:
    raise MissingExtra(f"S3 needs obstore ({exc})", hint='pip install "mlspine[s3]"') from exc

_PLAIN = re.compile(r"[^A-Za-z0-9._/-]")
_CHUNK_BYTES = 1 << 20
_MAX_RETRIES, _RETRY_TIMEOUT = 3, timedelta(seconds=20)


class ObjectBlobStore:
    """Bytes under keys in a bucket. The store itself makes a put whole or absent.

    url: `s3://BUCKET/PREFIX`. endpoint: where to reach it when that is not AWS. cache: a folder of this
    machine, never shared with another, which holds about `cache_bytes` of blobs for `locate`.
    """

    def __init__(self, url: str, *, cache: Path, cache_bytes: int, endpoint: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or "@" in parts.netloc:
            raise Invalid("[store] blobs is no S3 URL", hint='write it as "s3://BUCKET/PREFIX"')
        self._where = f"s3://{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
        self._cache = BlobCache(cache, max_bytes=cache_bytes)
        with self._mapped_errors():
            self._store = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                endpoint=endpoint or None,
                client_options={
                    "connect_timeout": "5s",
                    "timeout": "60s",
                    "allow_http": endpoint.startswith("http://"),
                },
                retry_config={"max_retries": _MAX_RETRIES, "retry_timeout": _RETRY_TIMEOUT},
            )

    def put(self, key: str, data: bytes | Path) -> None:
        """Store bytes, or a copy of a file, under `key`; this machine keeps a copy for `locate`."""
        name = _stored(key)
        with contextlib.ExitStack() as stack:
            source: BinaryIO = stack.enter_context(data.open("rb")) if isinstance(data, Path) else io.BytesIO(data)
            with self._mapped_errors():
                obstore.put(self._store, name, source)
            source.seek(0)
            try:
                self._cache.keep(name, source)
            except OSError:  # a full disk here costs fetching it later
                self._cache.drop(name)

    def adopt(self, key: str, file: Path) -> None:
        """Upload a finished file and remove it. No copy is kept: `locate` fetches one for whoever reads it."""
        name = _stored(key)
        with file.open("rb") as source, self._mapped_errors():
            obstore.put(self._store, name, source)
        self._cache.drop(name)
        file.unlink()

    def get(self, key: str) -> bytes:
        """Raises NotFound."""
        with self._mapped_errors(key):
            return bytes(obstore.get(self._store, _stored(key)).bytes())

    def open(self, key: str) -> BinaryIO:
        """The blob as a binary file for reading, seekable; raises NotFound."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        try:
            self._download(key, file)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys that begin with `prefix`, sorted; local copies of those no longer there go."""
        folder = _stored(prefix.rpartition("/")[0]) if "/" in prefix else ""
        with self._mapped_errors():
            listed = [meta["path"] for page in obstore.list(self._store, folder or None) for meta in page]
        self._cache.retain(folder, set(listed))
        yield from sorted(key for key in map(_key, listed) if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Gone afterwards, whether or not it was there."""
        name = _stored(key)
        self._cache.drop(name)
        with contextlib.suppress(NotFound), self._mapped_errors(key):
            obstore.delete(self._store, name)

    def locate(self, key: str) -> str:
        """The path of a copy on this machine, fetched when it is not there yet; raises NotFound."""
        name = _stored(key)
        return str(self._cache.path(name) or self._fetch(key, name))

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Paths located inside by this thread stay readable until its end."""
        return self._cache.pinned()

    # ------------------------------------------------------------ inside

    def _fetch(self, key: str, name: str) -> Path:
        with tempfile.TemporaryFile() as file:
            self._download(key, file)
            file.seek(0)
            return self._cache.keep(name, file)

    def _download(self, key: str, file: BinaryIO) -> None:
        with self._mapped_errors(key):
            for chunk in obstore.get(self._store, _stored(key)).stream(min_chunk_size=_CHUNK_BYTES):
                file.write(chunk)

    @contextlib.contextmanager
    def _mapped_errors(self, key: str = "") -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, exceptions.BaseError) as exc:
            raise self._told(exc, key) from exc

    def _told(self, exc: Exception, key: str) -> MlspineError:
        # The first line: what follows are the client's insides.
        said = str(exc).partition("\n")[0].strip()
        if "NoSuchBucket" in str(exc):
            return NotFound(
                f"{self._where}: there is no such bucket", hint="create it, or correct [store] blobs: mlspine config"
            )
        if isinstance(exc, FileNotFoundError):
            return NotFound(f"no blob {key!r} in {self._where}", hint="it was deleted or belongs to another workspace")
        if isinstance(exc, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            return Denied(
                f"{self._where} does not let this machine in",
                hint="see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what this key may do in that bucket",
            )
        return Unavailable(f"{self._where} does not answer: {said}", hint="try again; nothing was stored")


def _stored(key: str) -> str:
    """The name of a key in the bucket.

    >>> _stored("log/a b/1.parquet")
    'log/a=20b/1.parquet'
    """
    check_key(key)
    return _PLAIN.sub(lambda match: "".join(f"={byte:02X}" for byte in match[0].encode()), key)


def _key(name: str) -> str:
    """The key of a name in the bucket.

    >>> _key("log/a=20b/1.parquet")
    'log/a b/1.parquet'
    """
    return unquote_to_bytes(name.replace("=", "%")).decode()
