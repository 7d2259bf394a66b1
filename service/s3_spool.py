"""The spool in a bucket: what is kept lies there, and copies of some of it on this disk.

A copy of an image is that image, for its name holds its digest. A result may be written anew under
its name (another try of the same parcel), so its copy is taken only where the store says that it is
still the same. The copies may be removed at any time; so whoever asks for a path reads it soon.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from service.s3_store import S3Store
from service.spool import Spool, SpoolFileDamaged, image_name, result_name

_LOOK_SECONDS = 60.0
_IN_USE_SECONDS = 600.0
"""A copy that was asked for so recently is not removed, for somebody may be about to read it."""


class S3Spool(Spool):
    """root: folder of what arrives, and of the copies; each machine has its own.

    cache_bytes: of the copies, unless more are in use. Raises StoreError, an OSError, where the
    store does not do what it is asked to, SpoolFileDamaged where it gives back something else, and
    OSError where the disk does not.
    """

    def __init__(self, root: Path, store: S3Store, cache_bytes: int) -> None:
        super().__init__(root)
        self._store = store
        self._cache_bytes = cache_bytes
        self._looking = threading.Lock()
        self._looked_at = float("-inf")

    def check(self) -> None:
        self._store.check()

    def image_path(self, key: str) -> Path:
        path = super().image_path(key)
        try:
            os.utime(path)
        except FileNotFoundError:
            self._fetch(image_name(key))
        return path

    def kept_image(self, key: str) -> Path:
        path = super().image_path(key)
        try:
            self._fetch(image_name(key))
        except SpoolFileDamaged:
            path.unlink(missing_ok=True)
        return path

    def result_path(self, parcel: str, name: str) -> Path:
        path = super().result_path(parcel, name)
        self._fetch(result_name(parcel, name), unless_md5=_md5(path))
        return path

    def keep_image(self, key: str, temporary: Path) -> Path:
        with temporary.open("rb") as content:
            self._store.put(image_name(key), content)
        self._bound()
        return super().keep_image(key, temporary)

    def write_results(self, parcel: str, objects: Iterable[tuple[str, bytes]]) -> Path:
        objects = list(objects)
        for name, content in objects:
            self._store.put(result_name(parcel, name), BytesIO(content))
        self._bound()
        return super().write_results(parcel, objects)

    def remove_image(self, key: str) -> None:
        self._store.remove([image_name(key)])
        super().remove_image(key)

    def remove_parcel(self, parcel: str) -> None:
        self._store.remove(list(self._store.names(result_name(parcel, ""))))
        super().remove_parcel(parcel)

    def image_keys(self, shard: str) -> list[str]:
        return [Path(name).stem for name in self._store.names(f"images/{shard}/")]

    def parcels(self, shard: str) -> list[str]:
        return sorted({name.split("/")[2] for name in self._store.names(f"results/{shard}/")})

    def left_overs(self, parcel: str) -> Iterator[Path]:
        """An object that was not put whole is not there."""
        return iter(())

    def kept_since(self, key: str) -> datetime:
        return self._store.written_at(image_name(key))

    def names(self) -> Iterator[str]:
        for kind in ("images", "results"):
            yield from self._store.names(f"{kind}/")

    def open(self, name: str) -> BinaryIO:
        self.incoming.mkdir(parents=True, exist_ok=True)
        content = tempfile.TemporaryFile(dir=self.incoming)  # noqa: SIM115 the caller closes it
        if not self._store.get(name, content):
            content.close()
            raise FileNotFoundError
        content.seek(0)
        return content

    def take_in(self, name: str) -> None:
        with (self.root / name).open("rb") as content:
            self._store.put(name, content)
        self._bound()

    def _fetch(self, name: str, unless_md5: str = "") -> None:
        """Make the copy what the store has, as a file that is whole and on disk, or no file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as content:
                found = self._store.get(name, content, unless_md5)
                content.flush()
                os.fsync(content.fileno())
            if found:
                os.replace(temporary, path)
            elif found is None:
                os.utime(path)
            else:
                path.unlink(missing_ok=True)
        finally:
            temporary.unlink(missing_ok=True)
        self._bound()

    def _bound(self) -> None:
        """Remove the copies that were asked for longest ago, if there are too many."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            now = time.monotonic()
            if now - self._looked_at >= _LOOK_SECONDS:
                self._looked_at = now
                self.remove_copies(_IN_USE_SECONDS)
        finally:
            self._looking.release()

    def remove_copies(self, in_use_seconds: float) -> None:
        """Down to ``cache_bytes``; none that was asked for within ``in_use_seconds``."""
        copies = sorted(self._copies())
        excess = sum(size for _, size, _ in copies) - self._cache_bytes
        for used_at, size, path in copies:
            if excess <= 0 or time.time() - used_at < in_use_seconds:
                return
            path.unlink(missing_ok=True)
            excess -= size
            with suppress(OSError):  # until it is empty
                path.parent.rmdir()

    def _copies(self) -> Iterator[tuple[float, int, Path]]:
        """When each was asked for last, seconds since 1970; its bytes; where it is."""
        for kind in ("images", "results"):
            for parent, _, files in os.walk(self.root / kind):
                for file in files:
                    path = Path(parent) / file
                    with suppress(FileNotFoundError):
                        status = path.stat()
                        yield status.st_mtime, status.st_size, path


def _new_md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _md5(path: Path) -> str:
    """What S3 calls an object's ETag, unless it was encrypted by a key of its own."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, _new_md5).hexdigest()
    except FileNotFoundError:
        return ""
