"""The spool: received files and results on disk, written so that a crash leaves no half file."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread

from dicom_sr.reference import InstanceReference, reference_to
from service.outage import Outage

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")


def image_key(sop_instance_uid: str, transfer_syntax_uid: str, digest: str) -> str:
    """The image's name in queues, logs and file names: 32 hex digits that tell nothing."""
    text = f"{sop_instance_uid}|{transfer_syntax_uid}|{digest}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class StoreError(Outage, OSError):
    """The store of a spool that lies elsewhere does not do what it is asked to; it may yet.

    The text says in which way, and nothing of where it is, of what was asked or of any secret.
    """

    def __init__(self, words: str) -> None:
        super().__init__(errno.EIO, words)

    def __str__(self) -> str:
        return str(self.strerror)


class SpoolFileDamaged(OSError):
    """What is kept is not what was put there."""


class Spool:
    """Folders under ``root``: ``incoming/`` (temporary), ``images/ab/KEY.dcm``,
    ``results/ab/PARCEL``.

    Everything that becomes visible under its final name is complete and on disk: temporary name,
    fsync, rename, fsync of the folder. Raises OSError where the disk fails.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"

    def prepare(self) -> None:
        """Make the folders. Raises OSError if the place cannot be written."""
        for folder in (self.incoming, self.root / "images", self.root / "results"):
            folder.mkdir(parents=True, exist_ok=True)

    def check(self) -> None:
        """Whether what is asked for would come: nothing to ask where it lies on this disk."""

    def image_path(self, key: str) -> Path:
        """Where the image can be read now; there is no file if it is not kept."""
        return self.root / image_name(key)

    def kept_image(self, key: str) -> Path:
        """As ``image_path``, and never a copy: for whoever says that it is kept, and whole."""
        return self.image_path(key)

    def results_folder(self, parcel: str) -> Path:
        return self.root / "results" / parcel[:2] / parcel

    def result_path(self, parcel: str, name: str) -> Path:
        """Where a file of a parcel can be read now; there is none if it is not kept."""
        return self.results_folder(parcel) / name

    def reference(self, parcel: str, name: str) -> InstanceReference | None:
        """How to refer to an object of a parcel; None if it is not there."""
        path = self.result_path(parcel, name)
        if not path.is_file():
            return None
        return reference_to(dcmread(path, stop_before_pixels=True, specific_tags=list(_UIDS)))

    def keep_image(self, key: str, temporary: Path) -> Path:
        """Make a file of ``incoming/`` that is complete and fsynced the image ``key``, durably."""
        target = self.root / image_name(key)
        _make_folder(target.parent)
        os.replace(temporary, target)
        sync_folder(target.parent)
        return target

    def write_results(self, parcel: str, objects: Iterable[tuple[str, bytes]]) -> Path:
        """Write the files of a parcel, durably; the same names are replaced.

        Returns the folder in which they can be read now.
        """
        folder = self.results_folder(parcel)
        _make_folder(folder)
        for name, content in objects:
            write_durably(folder / name, content)
        sync_folder(folder)
        return folder

    def remove_image(self, key: str) -> None:
        """None is kept any more, if there was one."""
        (self.root / image_name(key)).unlink(missing_ok=True)

    def remove_parcel(self, parcel: str) -> None:
        """Nothing of it is kept any more, as far as it can be removed."""
        shutil.rmtree(self.results_folder(parcel), ignore_errors=True)

    def image_keys(self, shard: str) -> list[str]:
        """Keys of the images that are kept and begin with ``shard``, two hex digits."""
        return [path.stem for path in (self.root / "images" / shard).glob("*.dcm")]

    def parcels(self, shard: str) -> list[str]:
        """Parcels that are kept and begin with ``shard``, two hex digits."""
        return [path.name for path in (self.root / "results" / shard).glob("*")]

    def left_overs(self, parcel: str) -> Iterator[Path]:
        """Temporary files that a killed worker has left in a parcel, or another writes now."""
        return self.results_folder(parcel).glob(".*.tmp")

    def kept_since(self, key: str) -> datetime:
        """When the image was written."""
        return datetime.fromtimestamp(self.image_path(key).stat().st_mtime, UTC)

    def names(self) -> Iterator[str]:
        """Of every file that is kept, relative: ``images/ab/KEY.dcm``, ``results/ab/PARCEL/…``."""
        for kind in ("images", "results"):
            for parent, _, files in os.walk(self.root / kind):
                folder = Path(parent).relative_to(self.root)
                for file in sorted(files):
                    if not file.startswith("."):
                        yield (folder / file).as_posix()

    def open(self, name: str) -> BinaryIO:
        """A file by its relative name. Raises FileNotFoundError if it is not there any more."""
        return (self.root / name).open("rb")

    def take_in(self, name: str) -> None:
        """Keep what somebody has brought back under its relative name: here it is kept already."""

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free


def image_name(key: str) -> str:
    """Relative to the spool."""
    return f"images/{key[:2]}/{key}.dcm"


def result_name(parcel: str, name: str) -> str:
    """Relative to the spool."""
    return f"results/{parcel[:2]}/{parcel}/{name}"


def write_durably(path: Path, content: bytes) -> None:
    """Temporary name, fsync, rename. The caller syncs the folder."""
    temporary = path.with_name(f".{path.name}.{threading.get_native_id()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
        sync_folder(folder.parent.parent)
