"""Pictures for people: an image as it was received, and the overlay that was made of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.analysis.decode import Decoder
from service.journal.records import ImageRow, ImageState
from service.results import PICTURE_FILE
from service.sections import AnalysisSettings
from service.spool import Spool, SpoolFileDamaged, StoreError

_THUMBNAIL = (192, 192)


class NoPicture(Exception):
    """There is none, or it cannot be decoded; the text says why, without anything of the image."""


@dataclass(frozen=True)
class Size:
    """In pixels."""

    width: int
    height: int


class Pictures:
    """Thread-safe. What comes from outside is decoded in a child process, within limits."""

    def __init__(self, settings: AnalysisSettings, spool: Spool) -> None:
        self._spool = spool
        self._decoder = Decoder(settings.decode_seconds, settings.decode_megabytes)

    def close(self) -> None:
        self._decoder.close()

    def free_bytes(self) -> int:
        """On the disk that holds them."""
        return self._spool.free_bytes()

    def source(self, row: ImageRow) -> NDArray[np.uint8]:
        """The scored frame, else the first: ``(H, W, 3)`` uint8 RGB.

        Raises DecodeError, or NoPicture where the file is gone.
        """
        with _told():
            path = self._spool.image_path(row.key)
        if not path.is_file():
            raise NoPicture("the received file is not in the spool")
        outcome = row.outcome
        return self._decoder.frame(path, (outcome and outcome.frame) or 1)

    def overlay_path(self, row: ImageRow) -> Path | None:
        """The overlay that holds; None if there is none, or it was withdrawn. Raises NoPicture."""
        if row.parcel is None or row.outcome is None or row.outcome.state is ImageState.WITHDRAWN:
            return None
        with _told():
            path = self._spool.result_path(row.parcel, PICTURE_FILE)
        return path if path.is_file() else None

    def overlay(self, row: ImageRow) -> bytes:
        """As PNG. Raises NoPicture."""
        path = self.overlay_path(row)
        if path is None:
            raise NoPicture("the image has no overlay")
        return path.read_bytes()

    def overlay_size(self, row: ImageRow) -> Size | None:
        try:
            path = self.overlay_path(row)
        except NoPicture:
            return None
        if path is None:
            return None
        with Image.open(path) as picture:
            return Size(*picture.size)

    def thumbnail(self, row: ImageRow) -> bytes:
        """The overlay as a small JPEG. Raises NoPicture."""
        with Image.open(BytesIO(self.overlay(row))) as picture:
            picture.thumbnail(_THUMBNAIL)
            stream = BytesIO()
            picture.convert("RGB").save(stream, "JPEG", quality=85)
        return stream.getvalue()


@contextmanager
def _told() -> Iterator[None]:
    """What a spool that lies elsewhere may raise, as people are told."""
    try:
        yield
    except StoreError as error:
        raise NoPicture("the spool's store does not answer") from error
    except SpoolFileDamaged as error:
        raise NoPicture("the file in the spool is damaged") from error


def png(picture: NDArray[np.uint8]) -> bytes:
    """picture: ``(H, W, 3)`` uint8 RGB."""
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
