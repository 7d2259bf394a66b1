"""The spool: received files and results on disk, written so that a crash leaves no half file."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from pydicom import dcmread

from dicom_sr.reference import InstanceReference, reference_to

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")


def image_key(sop_instance_uid: str, transfer_syntax_uid: str, digest: str) -> str:
    """The image's name in queues, logs and file names: 32 hex digits that tell nothing."""
    text = f"{sop_instance_uid}|{transfer_syntax_uid}|{digest}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Spool:
    """Folders under ``root``: ``incoming/`` (temporary), ``images/ab/KEY.dcm``,
    ``results/ab/PARCEL``.

    Everything that becomes visible under its final name is complete and on disk: temporary name,
    fsync, rename, fsync of the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"

    def prepare(self) -> None:
        """Make the folders. Raises OSError if the place cannot be written."""
        for folder in (self.incoming, self.root / "images", self.root / "results"):
            folder.mkdir(parents=True, exist_ok=True)

    def image_path(self, key: str) -> Path:
        return self.root / "images" / key[:2] / f"{key}.dcm"

    def results_folder(self, parcel: str) -> Path:
        return self.root / "results" / parcel[:2] / parcel

    def reference(self, parcel: str, name: str) -> InstanceReference | None:
        """How to refer to an object of a parcel; None if it is not there."""
        path = self.results_folder(parcel) / name
        if not path.is_file():
            return None
        return reference_to(dcmread(path, stop_before_pixels=True, specific_tags=list(_UIDS)))

    def keep_image(self, key: str, temporary: Path) -> Path:
        """Make a file of ``incoming/`` that is complete and fsynced the image ``key``, durably."""
        target = self.image_path(key)
        _make_folder(target.parent)
        os.replace(temporary, target)
        sync_folder(target.parent)
        return target

    def write_results(self, parcel: str, objects: Iterable[tuple[str, bytes]]) -> Path:
        """Write the files of a parcel, durably; the same names are replaced."""
        folder = self.results_folder(parcel)
        _make_folder(folder)
        for name, content in objects:
            write_durably(folder / name, content)
        sync_folder(folder)
        return folder

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free


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
