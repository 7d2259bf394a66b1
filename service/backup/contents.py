"""What a backup is: a folder with files, their digests, and a line that says what made it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from service.spool import sync_folder, write_durably

DESCRIPTION_FILE = "backup.json"
"""Written last: a folder without it is no whole backup."""
SUMS_FILE = "SHA256SUMS"
ACCOUNTS_FILE = "accounts.json"
AUDIT, MODELS, SPOOL = "audit", "models", "spool"
FORMAT = 1

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
_CHUNK_BYTES = 1 << 20


class BackupError(Exception):
    """No backup can be made or restored; the text says what the operator should do."""


class Database(StrEnum):
    """Where the journal lies; a backup goes back to the same kind."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"

    @property
    def file(self) -> str:
        """Name of the journal in the backup."""
        return "journal.sqlite3" if self is Database.SQLITE else "journal.dump"


@dataclass(frozen=True)
class Description:
    """The file ``backup.json``.

    made_at: when the backup began, ISO 8601 with its zone: what was acknowledged before is in it.
    sums_sha256: of the file ``SHA256SUMS``.
    """

    secondread: str
    made_at: str
    database: Database
    files: int
    size_bytes: int
    sums_sha256: str
    format: int = FORMAT


def copy_and_digest(source: BinaryIO, target: BinaryIO | None) -> tuple[str, int]:
    """SHA-256 and size in bytes of what is read, and written if there is a target."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest(), size


def write_sums(folder: Path, digests: Mapping[str, str]) -> str:
    """Write ``SHA256SUMS`` as coreutils' sha256sum reads it; returns its own digest."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    write_durably(folder / SUMS_FILE, text.encode())
    return hashlib.sha256(text.encode()).hexdigest()


def write_description(folder: Path, description: Description) -> None:
    write_durably(folder / DESCRIPTION_FILE, json.dumps(asdict(description), indent=2).encode())
    sync_folder(folder)


def read_description(folder: Path) -> Description:
    """Raises BackupError."""
    try:
        values = json.loads((folder / DESCRIPTION_FILE).read_text())
        if values["format"] != FORMAT:
            raise BackupError(
                f"{folder} has format {values['format']}: restore it with the version that made it,"
                f" {values['secondread']}"
            )
        return Description(**{**values, "database": Database(values["database"])})
    except FileNotFoundError:
        raise BackupError(f"{folder} is no whole backup: {DESCRIPTION_FILE} is missing") from None
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{folder / DESCRIPTION_FILE} is no description of a backup") from None


def read_sums(folder: Path, description: Description) -> dict[str, str]:
    """Digest by relative path. Raises BackupError for a path that would lead out of the folder."""
    content = (folder / SUMS_FILE).read_bytes()
    if hashlib.sha256(content).hexdigest() != description.sums_sha256:
        raise BackupError(f"{folder / SUMS_FILE} is not what was written: the backup is damaged")
    digests = {}
    for line in content.decode().splitlines():
        match = _LINE.fullmatch(line)
        if match is None or _leads_out(match[2]):
            raise BackupError(f"{folder / SUMS_FILE} names a file that no backup has")
        digests[match[2]] = match[1]
    return digests


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts
