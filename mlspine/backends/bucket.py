"""ObjectReader on S3-compatible storage: other people's objects listed by URL or glob, and copied here to be read.

Credentials and region are found as usual for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the
machine; AWS_ENDPOINT_URL where it is not AWS.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlspine.core.errors import Denied, Invalid, MissingExtra, MlspineError, NotFound, Unavailable

_GLOB = re.compile(r"[*?]")
_CHUNK_BYTES = 1 << 20


class Buckets:
    """Any bucket these credentials may read. endpoint: where to reach it when that is not AWS."""

    def __init__(self, endpoint: str = "") -> None:
        self._endpoint = endpoint
        self._stores: dict[str, Any] = {}

    def find(self, url: str) -> Mapping[str, str]:
        """Objects a URL or glob means; `*` and `?` stay within one folder, `**` does not."""
        bucket, pattern = _parts(url)
        folder = pattern[: _GLOB.search(pattern).start()].rpartition("/")[0] if _GLOB.search(pattern) else ""  # type: ignore[union-attr]
        wanted = re.compile(_regex(pattern))
        obstore = _obstore()
        try:
            prefix = folder or (pattern.rpartition("/")[0] if not _GLOB.search(pattern) else "")
            listed = [meta for page in obstore.list(self._store(bucket), prefix or None) for meta in page]
        except Exception as exc:
            raise _told(exc, f"s3://{bucket}") from exc
        found = {
            f"s3://{bucket}/{meta['path']}": f"{meta['size']} {meta.get('e_tag') or meta['last_modified']}"
            for meta in listed
            if wanted.fullmatch(meta["path"])
        }
        if not found:
            raise NotFound(
                f"no object {url}", hint=f"the folder {folder or '/'} of {bucket} holds {len(listed):,} objects"
            )
        return dict(sorted(found.items()))

    def fetch(self, url: str, target: Path) -> None:
        bucket, key = _parts(url)
        obstore = _obstore()
        try:
            with target.open("wb") as file:
                for chunk in obstore.get(self._store(bucket), key).stream(min_chunk_size=_CHUNK_BYTES):
                    file.write(chunk)
        except Exception as exc:
            raise _told(exc, url) from exc

    def _store(self, bucket: str) -> Any:
        if bucket not in self._stores:
            from obstore.store import S3Store

            endpoint = self._endpoint or os.environ.get("AWS_ENDPOINT_URL", "")
            self._stores[bucket] = S3Store(
                bucket,
                endpoint=endpoint or None,
                client_options={
                    "connect_timeout": "5s",
                    "timeout": "60s",
                    "allow_http": endpoint.startswith("http://"),
                },
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
            )
        return self._stores[bucket]


def _obstore() -> Any:
    try:
        import obstore
    except ImportError as exc:
        raise MissingExtra(f"S3 needs obstore ({exc})", hint='pip install "mlspine[s3]"') from exc
    return obstore


def _parts(url: str) -> tuple[str, str]:
    # "?" is a part of globs here, never of a query.
    parts = urlsplit(url.replace("?", "%3F"))
    key = parts.path.lstrip("/").replace("%3F", "?")
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or not key:
        raise Invalid(f"{url} names no object", hint="write it as s3://BUCKET/FOLDER/*.parquet")
    return parts.netloc, key


def _regex(pattern: str) -> str:
    """A glob as a regular expression.

    >>> bool(re.fullmatch(_regex("logs/*.csv"), "logs/a.csv")), bool(re.fullmatch(_regex("logs/*.csv"), "logs/b/a.csv"))
    (True, False)
    """
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(words.get(part) or re.escape(part) for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern) if part)


def _told(exc: Exception, what: str) -> MlspineError:
    if isinstance(exc, MlspineError):
        return exc
    from obstore import exceptions

    said = str(exc).partition("\n")[0].strip()[:200]
    if "NoSuchBucket" in str(exc):
        return NotFound(f"{what}: there is no such bucket", hint="check its name")
    if isinstance(exc, FileNotFoundError):
        return NotFound(f"no object {what}", hint="it was deleted since it was listed")
    if isinstance(exc, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return Denied(f"{what} does not let this machine in", hint="see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return Unavailable(f"{what} does not answer: {said}", hint="it is tried again at the next reading")
