"""The demonstration: real files through the whole service on this machine, and out again."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom.data
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from service.config import Settings, load_settings
from service.journal.journal import Journal
from service.journal.records import ImageRow, ImageState
from service.scu import Peer, SendOutcome, send_files
from service.sop_classes import ANALYSED
from service.spool import Spool
from service.storage_scp import LocalArchive
from service.supervisor import Supervisor

_FINAL = {ImageState.DELIVERED, ImageState.IGNORED, ImageState.FAILED}


@dataclass(frozen=True)
class DemoRow:
    """One line of the demonstration's table.

    results: the SR, SC and PNG that there are, under names that begin with the file's.
    complete: the file's outcome is final and everything that belongs to it lies in the archive.
    """

    file: str
    outcome: str
    detail: str
    probability_malignant: float | None
    results: tuple[Path, ...]
    complete: bool


def packaged_ultrasound() -> list[Path]:
    """The real ultrasound files inside the pydicom package."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    return [path for path in sorted(folder.glob("*.dcm")) if _sop_class(path) in ANALYSED]


def _sop_class(path: Path) -> str | None:
    try:
        return str(read_file_meta_info(path).get("MediaStorageSOPClassUID"))
    except (InvalidDicomError, EOFError):
        return None


def files_in(path: Path) -> list[Path]:
    """The file itself, or every file below the folder that is not hidden.

    Raises FileNotFoundError where there is none.
    """
    if path.is_file():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    if not files:
        raise FileNotFoundError(f"there are no files in {path}")
    return files


class Demonstration:
    """SecondRead on embedded defaults and free ports, with a local archive as its PACS."""

    def __init__(self, settings: Settings, supervisor: Supervisor, archive: LocalArchive) -> None:
        self.settings = settings
        self._supervisor = supervisor
        self._archive = archive
        self._journal = Journal(settings.journal_url)
        self._spool = Spool(settings.data_dir / "spool")

    @property
    def scanner_target(self) -> Peer:
        """Where a scanner would send to."""
        ingest = self.settings.ingest
        return Peer(ingest.host, ingest.port, ingest.ae_title)

    def send(
        self, files: Sequence[Path], on_sent: Callable[[SendOutcome], None]
    ) -> list[SendOutcome]:
        """C-STORE the files as a scanner would; what is no DICOM is wrapped first."""
        return send_files(files, self.scanner_target, "DEMO", on_sent)

    def wait(
        self,
        sent: Sequence[SendOutcome],
        timeout: float,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Wait until each stored file is final, or nothing has moved for ``timeout`` seconds."""
        uids = {outcome.sop_instance_uid for outcome in sent if outcome.stored}
        moved, before = time.monotonic(), -1
        while time.monotonic() - moved < timeout:
            done = sum(self._is_final(uid) for uid in uids)
            if done != before:
                moved, before = time.monotonic(), done
                on_progress(done, len(uids))
            if done == len(uids):
                return
            time.sleep(0.1)

    def _is_final(self, sop_instance_uid: str | None) -> bool:
        row = self.row(sop_instance_uid)
        return row is not None and row.state in _FINAL

    def row(self, sop_instance_uid: str | None) -> ImageRow | None:
        keys = self._journal.keys_of(sop_instance_uid) if sop_instance_uid else []
        return self._journal.image(keys[-1]) if keys else None

    def rows(self, sent: Sequence[SendOutcome], folder: Path) -> list[DemoRow]:
        """The table; copies what the archive holds, and the pictures, into ``folder``."""
        return [self._table_row(outcome, folder) for outcome in sent]

    def _table_row(self, sent: SendOutcome, folder: Path) -> DemoRow:
        name = sent.path.name
        row = self.row(sent.sop_instance_uid) if sent.stored else None
        if row is None:
            return DemoRow(name, "not stored", sent.text, None, (), False)
        outcome = row.outcome
        archived = [self.in_archive(row.key, item) for item in outcome.objects] if outcome else []
        found = [path for path in archived if path is not None]
        analysed = outcome is not None and outcome.probability_malignant is not None
        label = "analysed" if analysed else "not analysed" if outcome else str(row.state)
        detail = (outcome.reason_text or outcome.decision if outcome else row.last_error) or ""
        return DemoRow(
            file=name,
            outcome=label,
            detail=detail,
            probability_malignant=outcome.probability_malignant if outcome else None,
            results=self._copied(row, found, folder / sent.path.stem),
            complete=row.state in _FINAL - {ImageState.FAILED} and len(found) == len(archived),
        )

    def _copied(self, row: ImageRow, archived: Sequence[Path], stem: Path) -> tuple[Path, ...]:
        """``stem.sr.dcm``, ``stem.sc.dcm`` from the archive, ``stem.png`` from the spool."""
        objects = row.outcome.objects if row.outcome else ()
        sources = {f".{item}": path for item, path in zip(objects, archived, strict=False)}
        picture = self._spool.results_folder(row.key) / "overlay.png"
        if picture.is_file():
            sources[".png"] = picture
        copies = []
        for suffix, source in sources.items():
            copies.append(stem.with_name(stem.name + suffix))
            shutil.copyfile(source, copies[-1])
        return tuple(copies)

    def in_archive(self, key: str, item: str) -> Path | None:
        """Where the archive keeps this result; None if it does not."""
        result = pydicom.dcmread(self._spool.results_folder(key) / item, stop_before_pixels=True)
        return self._archive.find(result.SOPInstanceUID)


@contextmanager
def demonstration(archive_folder: Path, ready_seconds: float = 90) -> Iterator[Demonstration]:
    """Start everything, and leave no process, port or temporary file when the block ends."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secondread-")))
        archive_port, ingest_port, broker_port = _free_ports(3)
        config = scratch / "secondread.toml"
        config.write_text(
            f"data_dir = {json.dumps(str(scratch / 'data'))}\n"
            'log_level = "WARNING"\n'
            f"[ingest]\nport = {ingest_port}\nlow_water_bytes = 0\n"
            f"[broker]\nembedded_port = {broker_port}\n"
            "[monitoring]\n"
            "ingest_port = 0\nanalysis_port = 0\ndelivery_port = 0\nkeeper_port = 0\n"
            "[[destinations]]\n"
            f'name = "demo-pacs"\nhost = "127.0.0.1"\nport = {archive_port}\n'
            'ae_title = "DEMOPACS"\n',
            encoding="utf-8",
        )
        settings = load_settings(config)
        archive = LocalArchive(archive_folder, "DEMOPACS", "127.0.0.1", archive_port)
        archive.start()
        stack.callback(archive.stop)
        supervisor = Supervisor(settings, config)
        supervisor.start()
        stack.callback(supervisor.stop)
        supervisor.wait_ready(ready_seconds)
        yield Demonstration(settings, supervisor, archive)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all held at once so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]
