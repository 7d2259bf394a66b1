"""Taking a backup while the service runs.

First the journal, as it is at one moment, then the spool. A row is committed after its file is
whole, files of the spool are replaced but never changed, and none that work still needs is
removed; so each row of the copy finds its file. Files that came later have no row in it, and a
restored service's sweeper deals with them as after a crash. A probe's files go before its row:
see ``service.backup.restoring``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from service.backup.contents import (
    ACCOUNTS_FILE,
    AUDIT,
    MODELS,
    SPOOL,
    BackupError,
    Description,
    copy_and_digest,
    write_description,
    write_sums,
)
from service.backup.journal_copy import copy_journal, database_of
from service.config import Settings
from service.spool import sync_folder
from service.spool_opening import open_spool


class Backup:
    """A backup into ``folder``, which is made, or is empty. Raises BackupError where it is not.

    The caller's umask decides who may read it: it holds images of patients.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        if folder.resolve().is_relative_to(settings.data_dir.resolve()):
            raise BackupError(f"{folder} lies inside data_dir: name a folder elsewhere")
        if not settings.data_dir.is_dir():
            raise BackupError(f"there is no {settings.data_dir}; did the service run here?")
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BackupError(f"{folder} is not empty: name a new folder")
        self._settings = settings
        self._spool = open_spool(settings)
        self._folder = folder
        self._made_at = datetime.now(UTC)
        self._digests: dict[str, str] = {}
        self._size_bytes = 0

    def copy_journal(self) -> None:
        """Raises BackupError, OSError."""
        database = database_of(self._settings.journal_url)
        copy = self._folder / database.file
        copy_journal(self._settings.journal_url, copy)
        with copy.open("rb") as stream:
            self._count(database.file, *copy_and_digest(stream, None))

    def files(self) -> list[str]:
        """Names in the backup of what is to be copied after the journal. Raises OSError."""
        found = [f"{SPOOL}/{name}" for name in self._spool.names()]
        found += _below(self._settings.audit_dir, AUDIT)
        found += _below(self._settings.models_dir, MODELS)
        if self._settings.accounts_file.is_file():
            found.append(ACCOUNTS_FILE)
        return found

    def copy(self, name: str) -> None:
        """Copy one file, durably; one that was removed meanwhile is left out. Raises OSError."""
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            stream = self._source(name)
        except FileNotFoundError:
            return
        with stream, target.open("xb") as copy:
            digest, size = copy_and_digest(stream, copy)
            copy.flush()
            os.fsync(copy.fileno())
        self._count(name, digest, size)

    def finish(self) -> Description:
        """From here on it is a whole backup. Raises OSError."""
        for parent, _, _ in os.walk(self._folder):
            sync_folder(Path(parent))
        description = Description(
            secondread=version("secondread"),
            made_at=self._made_at.isoformat(timespec="seconds"),
            database=database_of(self._settings.journal_url),
            files=len(self._digests),
            size_bytes=self._size_bytes,
            sums_sha256=write_sums(self._folder, self._digests),
        )
        write_description(self._folder, description)
        return description

    def _source(self, name: str) -> BinaryIO:
        if name == ACCOUNTS_FILE:
            return self._settings.accounts_file.open("rb")
        if name.startswith(f"{SPOOL}/"):
            return self._spool.open(name.removeprefix(f"{SPOOL}/"))
        return (self._settings.data_dir / name).open("rb")

    def _count(self, name: str, digest: str, size: int) -> None:
        self._digests[name] = digest
        self._size_bytes += size


def _below(folder: Path, name: str) -> Iterator[str]:
    """The files of a folder tree, but for temporary ones, whose names begin with a dot."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        relative = Path(parent).relative_to(folder)
        for file in sorted(files):
            if not file.startswith("."):
                yield (Path(name) / relative / file).as_posix()
