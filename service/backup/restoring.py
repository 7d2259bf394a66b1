"""Bringing a backup back, into an empty place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from alembic.util import CommandError

from service.analysis.model_package import ModelPackageError
from service.analysis.model_store import ModelStore
from service.backup.contents import (
    ACCOUNTS_FILE,
    SPOOL,
    BackupError,
    Database,
    copy_and_digest,
    read_description,
    read_sums,
)
from service.backup.journal_copy import database_of, require_empty, restore_journal
from service.config import Settings
from service.journal.journal import Journal
from service.ownership import hand_over
from service.spool import image_name, result_name, sync_folder
from service.spool_opening import open_spool


@dataclass(frozen=True)
class Lacking:
    """Work of the journal whose files are not in the spool: keys of images, names of parcels.

    models: digests of packages that are to be used, and are not there.
    """

    images: tuple[str, ...]
    parcels: tuple[str, ...]
    models: tuple[str, ...] = ()


class Restore:
    """A backup's way back. Raises BackupError where it cannot go: then nothing was written.

    settings: those of the service that is to go on; its ``data_dir`` is empty or not there yet.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.description = read_description(folder)
        self._digests = read_sums(folder, self.description)
        self._settings = settings
        self._spool = open_spool(settings)
        self._folder = folder
        self._database = database_of(settings.journal_url)
        data_dir = settings.data_dir
        if data_dir.exists() and any(data_dir.iterdir()):
            raise BackupError(f"{data_dir} is not empty: name an empty folder as data_dir")
        if settings.accounts_file.exists():
            raise BackupError(f"{settings.accounts_file} is there already: move it away")
        if self._database is not self.description.database:
            raise BackupError(
                f"the backup's journal is of {self.description.database}, journal.url names"
                f" {self._database}: a backup goes back to the same kind"
            )
        if self._database is Database.POSTGRESQL:
            require_empty(settings.journal_url)
        elif self._sqlite_file().exists():
            raise BackupError(f"{self._sqlite_file()} is there already: move it away")

    def files(self) -> list[str]:
        """Names in the backup. The journal last: without it, nothing is a restored service."""
        return sorted(self._digests, key=lambda name: (name == self._database.file, name))

    def bring_back(self, name: str) -> None:
        """One file. Raises BackupError if it is not what was written, or OSError."""
        if name == Database.POSTGRESQL.file:
            self._check(name)
            restore_journal(self._folder / name, self._settings.journal_url)
            return
        target = self._place(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._source(name).open("rb") as stream, target.open("xb") as copy:
            digest, _ = copy_and_digest(stream, copy)
            copy.flush()
            os.fsync(copy.fileno())
        self._compare(name, digest)
        if name.startswith(f"{SPOOL}/"):
            self._spool.take_in(name.removeprefix(f"{SPOOL}/"))

    def finish(self) -> Lacking:
        """Upgrade the journal, take probes out, sync. Raises BackupError, JournalError, OSError.

        A probe may have lost its files between the journal's copy and the spool's; it is no
        patient's, and the restored service sends new ones.
        """
        settings, spool = self._settings, self._spool
        spool.prepare()
        with closing(Journal(settings.journal_url)) as journal:
            self._migrate(journal)
            probes = journal.every_probe()
            for key, parcels in probes:
                spool.remove_image(key)
                for parcel in parcels:
                    spool.remove_parcel(parcel)
            journal.forget_probes([key for key, _ in probes])
            images, deliveries = journal.needed_files()
            models = journal.awaited_models()
        for path in _tree(settings.data_dir):
            if path.is_dir():
                sync_folder(path)
        hand_over([*_tree(settings.data_dir), settings.accounts_file], settings.data_dir)
        kept = set(spool.names())
        return Lacking(
            images=tuple(key for key in images if image_name(key) not in kept),
            parcels=tuple(
                parcel
                for parcel, names in deliveries
                if not kept.issuperset(result_name(parcel, name) for name in names)
            ),
            models=_missing(ModelStore(settings), models),
        )

    def _migrate(self, journal: Journal) -> None:
        try:
            journal.migrate()
        except CommandError:
            raise BackupError(
                f"the backup was made by a newer version, {self.description.secondread}: install it"
            ) from None

    def undo(self) -> None:
        """Remove what was brought back, so that it is not taken for a restored service.

        All of ``data_dir``, for it was empty. A PostgreSQL database needs none of it: the dump
        comes back whole or not at all.
        """
        for name in self._digests:
            if name != Database.POSTGRESQL.file:
                self._place(name).unlink(missing_ok=True)
        if self._settings.data_dir.is_dir():
            for path in self._settings.data_dir.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def _place(self, name: str) -> Path:
        if name == Database.SQLITE.file:
            return self._sqlite_file()
        if name == ACCOUNTS_FILE:
            return self._settings.accounts_file
        if name.startswith(f"{SPOOL}/"):
            return self._spool.root / name.removeprefix(f"{SPOOL}/")
        return self._settings.data_dir / name

    def _sqlite_file(self) -> Path:
        return Path(self._settings.journal_url.removeprefix("sqlite:///"))

    def _source(self, name: str) -> Path:
        path = self._folder / name
        if not path.is_file():
            raise BackupError(f"{path} is missing: the backup is damaged")
        return path

    def _check(self, name: str) -> None:
        with self._source(name).open("rb") as stream:
            digest, _ = copy_and_digest(stream, None)
        self._compare(name, digest)

    def _compare(self, name: str, digest: str) -> None:
        if digest != self._digests[name]:
            raise BackupError(
                f"{self._folder / name} is not what was written: the backup is damaged"
            )


def _missing(store: ModelStore, awaited: set[str]) -> tuple[str, ...]:
    """Raises BackupError if the state of the store cannot be read."""
    try:
        state = store.state()
    except ModelPackageError as error:
        raise BackupError(str(error)) from None
    wanted = {state.active, state.previous, state.shadow, *awaited}
    wanted.add(state.canary.model if state.canary else None)
    return tuple(sorted(each for each in wanted if each is not None and not store.has(each)))


def _tree(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.rglob("*")
