"""A data set on its way: written to a file, and digested, as it comes."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from enum import StrEnum
from pathlib import Path

from service.ingest.data_set import HEAD_BYTES

_LOOK_BYTES = 1 << 24
"""Written between two looks at the free space."""


class Excess(StrEnum):
    """Why a data set was not kept."""

    OBJECT = "object-size"
    DISK = "disk-space"
    SPOOL = "spool"


class Arrival:
    """Never raises OSError: what goes wrong is ``excess``, and the rest of the data set is let go.

    folder: where the file is, under a temporary name, until somebody renames it.
    header: what the file begins with, in front of the data set.
    max_bytes: of the data set.
    low_water_bytes: free space that stays.

    excess: why the file is not whole; None if it is.
    size: bytes of the data set.
    head: its first 64 KiB.
    error: the class of the error that the spool met.
    began: when its first byte came, seconds since 1970.
    """

    def __init__(self, folder: Path, header: bytes, max_bytes: int, low_water_bytes: int) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.tmp"
        self.excess: Excess | None = None
        self.error = ""
        self.began = time.time()
        self.size = 0
        self._head = bytearray()
        self._digest = hashlib.sha256()
        self._max_bytes = max_bytes
        self._low_water_bytes = low_water_bytes
        self._looked_at = 0
        self._descriptor: int | None = None
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            self._require_space()
            self._write(memoryview(header))
        except OSError as error:
            self._broken(error)

    @property
    def head(self) -> bytes:
        return bytes(self._head)

    def digest(self) -> str:
        """SHA-256 of the data set as far as it was kept, in hexadecimal."""
        return self._digest.hexdigest()

    def add(self, fragment: memoryview) -> None:
        """The next bytes; the caller may use their place again."""
        self.size += len(fragment)
        if len(self._head) < HEAD_BYTES:
            self._head += fragment[: HEAD_BYTES - len(self._head)]
        if self.size > self._max_bytes:
            self._give_up(Excess.OBJECT)
        if self.excess is not None:
            return
        self._digest.update(fragment)
        try:
            self._write(fragment)
            if self.size - self._looked_at >= _LOOK_BYTES:
                self._looked_at = self.size
                self._require_space()
        except OSError as error:
            self._broken(error)

    def finish(self) -> None:
        """Make what was written durable; the file is whole now if ``excess`` is still None."""
        if self._descriptor is None:
            return
        try:
            self._require_space()
            if self.excess is None:
                os.fsync(self._descriptor)
        except OSError as error:
            self._broken(error)
        self._close()

    def discard(self) -> None:
        """Remove the file, unless it was renamed. May be called twice."""
        self._close()
        try:
            self.path.unlink(missing_ok=True)
        except OSError:  # a disk that is read-only now; the sweeper looks again
            return

    def _write(self, content: memoryview) -> None:
        while content and self._descriptor is not None:
            content = content[os.write(self._descriptor, content) :]

    def _require_space(self) -> None:
        if shutil.disk_usage(self.path.parent).free < self._low_water_bytes:
            self._give_up(Excess.DISK)

    def _broken(self, error: OSError) -> None:
        self.error = type(error).__name__
        self._give_up(Excess.SPOOL)

    def _give_up(self, excess: Excess) -> None:
        if self.excess is None:
            self.excess = excess
            self.discard()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
