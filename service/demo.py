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

import pydicom
from pydicom.data import get_testdata_files
from pydicom.errors import InvalidDicomError

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
    """One line of the demonstration's table; the paths are None where there is no such object.

    complete: the file's outcome is final and everything that belongs to it lies in the archive.
    """

    file: str
    outcome: str
    detail: str
    probability_malignant: float | None
    report: Path | None
    overlay: Path | None
    picture: Path | None
    complete: bool


def packaged_ultrasound() -> list[Path]:
    """The real ultrasound files inside the pydicom package."""
    found = []
    for name in get_testdata_files("*.dcm"):
        try:
            header = pydicom.dcmread(name, specific_tags=["SOPClassUID"])
        except (InvalidDicomError, OSError, ValueError):
            continue
        if header.get("SOPClassUID") in ANALYSED:
            found.append(Path(name))
    return sorted(found, key=lambda path: path.name)


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

    def rows(self, sent: Sequence[SendOutcome], pictures: Path) -> list[DemoRow]:
        """The table; copies each overlay picture into ``pictures``."""
        return [self._table_row(outcome, pictures) for outcome in sent]

    def _table_row(self, sent: SendOutcome, pictures: Path) -> DemoRow:
        name = sent.path.name
        row = self.row(sent.sop_instance_uid) if sent.stored else None
        if row is None:
            return DemoRow(name, "not stored", sent.text, None, None, None, None, False)
        outcome = row.outcome
        objects = outcome.objects if outcome else ()
        stored = {item: self.in_archive(row.key, item) for item in objects}
        picture = self._spool.results_folder(row.key) / "overlay.png"
        copied = None
        if picture.is_file():
            copied = pictures / f"{sent.path.stem}.png"
            shutil.copyfile(picture, copied)
        analysed = outcome is not None and outcome.probability_malignant is not None
        label = "analysed" if analysed else "not analysed" if outcome else str(row.state)
        detail = (outcome.reason_text or outcome.decision if outcome else row.last_error) or ""
        return DemoRow(
            file=name,
            outcome=label,
            detail=detail,
            probability_malignant=outcome.probability_malignant if outcome else None,
            report=stored.get("sr.dcm"),
            overlay=stored.get("sc.dcm"),
            picture=copied,
            complete=row.state in _FINAL - {ImageState.FAILED} and None not in stored.values(),
        )

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
