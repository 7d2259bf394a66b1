"""The demonstration: real files through the whole service on this machine, and out again."""

from __future__ import annotations

import itertools
import json
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom.data
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from service.config import Settings, load_settings
from service.journal.journal import Journal
from service.journal.records import ImageRow, ImageState, Stage
from service.programs import PORT_KEYS
from service.results import PICTURE_FILE, SUMMARY_FILE
from service.scu import Peer, SendOutcome, send_files
from service.sop_classes import ANALYSED
from service.spool import Spool
from service.storage_scp import LocalArchive
from service.supervisor import Supervisor
from service.web.accounts import Accounts, Role

_FINAL = {ImageState.DELIVERED, ImageState.IGNORED, ImageState.FAILED}
_QUIET_SECONDS = 2
"""So that the study's summary is there while somebody looks."""
_SUFFIXES = (".sr.dcm", ".sc.dcm", ".png")


@dataclass(frozen=True)
class SentFile:
    """A file that was sent; ``key`` is its image's in the journal, None if it was not stored."""

    path: Path
    answer: str
    key: str | None


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


class Demonstration:
    """SecondRead on embedded defaults and free ports, with a local archive as its PACS."""

    def __init__(
        self, settings: Settings, archive: LocalArchive, journal: Journal, page: PageLogin
    ) -> None:
        self.settings = settings
        self.page = page
        self._archive = archive
        self._journal = journal
        self._spool = Spool(settings.spool_dir)

    @property
    def scanner_target(self) -> Peer:
        """Where a scanner would send to."""
        ingest = self.settings.ingest
        return Peer(ingest.host, ingest.port, ingest.ae_title)

    def send(self, files: Sequence[Path], on_sent: Callable[[SendOutcome], None]) -> list[SentFile]:
        """C-STORE the files as a scanner would; what is no DICOM is wrapped first.

        Raises AssociationFailed.
        """
        sent = []

        def keep(outcome: SendOutcome) -> None:
            on_sent(outcome)
            key = self._newest_key(outcome.sop_instance_uid) if outcome.stored else None
            sent.append(SentFile(outcome.path, outcome.text, key))

        send_files(files, self.scanner_target, "DEMO", keep)
        return sent

    def _newest_key(self, sop_instance_uid: str | None) -> str | None:
        """Of the image that was just stored: other files may have the same SOP Instance UID."""
        keys = self._journal.keys_of(sop_instance_uid) if sop_instance_uid else []
        return keys[-1] if keys else None

    def wait(
        self,
        sent: Sequence[SentFile],
        timeout: float,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Wait until each stored file is final, or nothing has moved for ``timeout`` seconds."""
        stored = [file for file in sent if file.key]
        moved, before = time.monotonic(), -1
        while time.monotonic() - moved < timeout:
            done = sum(_is_final(self.row(file)) for file in stored)
            if done != before:
                moved, before = time.monotonic(), done
                on_progress(done, len(stored))
            if done == len(stored):
                return
            time.sleep(0.1)

    def wait_for_summaries(self, timeout: float) -> int:
        """Wait until every study is summarised and has arrived, at most ``timeout`` seconds.

        Returns how many summaries the archive holds.
        """
        deadline = time.monotonic() + timeout
        counts = self._journal.counts()
        while time.monotonic() < deadline and (
            counts.waiting[Stage.SUMMARY] or counts.waiting[Stage.DELIVERY]
        ):
            time.sleep(0.1)
            counts = self._journal.counts()
        summaries = self._spool.root.glob(f"results/*/*/{SUMMARY_FILE}")
        return sum(self._in_archive(path) is not None for path in summaries)

    def row(self, sent: SentFile) -> ImageRow | None:
        return self._journal.image(sent.key) if sent.key else None

    def rows(self, sent: Sequence[SentFile], folder: Path) -> list[DemoRow]:
        """The table; copies what the archive holds, and the pictures, into ``folder``."""
        return [self._table_row(file, folder) for file in sent]

    def _table_row(self, sent: SentFile, folder: Path) -> DemoRow:
        name = sent.path.name
        row = self.row(sent)
        if row is None:
            return DemoRow(name, "not stored", sent.answer, None, (), False)
        outcome = row.outcome
        objects = outcome.objects if outcome else ()
        archived = {item: path for item in objects if (path := self.in_archive(row.key, item))}
        analysed = outcome is not None and outcome.probability_malignant is not None
        label = "analysed" if analysed else "not analysed" if outcome else str(row.state)
        said = outcome.reason_text or outcome.decision if outcome else row.ignored_reason
        final = _is_final(row) and row.state is not ImageState.FAILED
        return DemoRow(
            file=name,
            outcome=label,
            detail=row.last_error or said or "",
            probability_malignant=outcome.probability_malignant if outcome else None,
            results=self._copied(row.key, archived, _free_stem(folder, sent.path.stem)),
            complete=final and len(archived) == len(objects),
        )

    def _copied(self, key: str, archived: Mapping[str, Path], stem: Path) -> tuple[Path, ...]:
        """``stem.sr.dcm``, ``stem.sc.dcm`` from the archive, ``stem.png`` from the spool."""
        sources = {f".{item}": path for item, path in archived.items()}
        picture = self._spool.results_folder(key) / PICTURE_FILE
        if picture.is_file():
            sources[".png"] = picture
        copies = []
        for suffix, source in sources.items():
            copies.append(stem.with_name(stem.name + suffix))
            shutil.copyfile(source, copies[-1])
        return tuple(copies)

    def in_archive(self, key: str, item: str) -> Path | None:
        """Where the archive keeps this result; None if it does not."""
        return self._in_archive(self._spool.results_folder(key) / item)

    def _in_archive(self, path: Path) -> Path | None:
        return self._archive.find(str(read_file_meta_info(path).MediaStorageSOPInstanceUID))


def _is_final(row: ImageRow | None) -> bool:
    """Whether nothing more will happen: it ended, or it has a result and nothing to deliver."""
    if row is None:
        return False
    return row.state in _FINAL or (row.outcome is not None and not row.deliveries)


def _free_stem(folder: Path, stem: str) -> Path:
    """``folder/stem``, or with -2, -3 … if another file's results have that name."""
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(
        folder / name
        for name in names
        if not any((folder / (name + suffix)).exists() for suffix in _SUFFIXES)
    )


@dataclass(frozen=True)
class PageLogin:
    """Where the web page is, and an account for it that lives as long as the demonstration."""

    url: str
    name: str
    password: str


@contextmanager
def demonstration(archive_folder: Path, ready_seconds: float = 90) -> Iterator[Demonstration]:
    """Start everything, and leave no process, port or temporary file when the block ends."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secondread-")))
        archive_port, ingest_port, broker_port, web_port = _free_ports(4)
        config = scratch / "secondread.toml"
        config.write_text(
            f"data_dir = {json.dumps(str(scratch / 'data'))}\n"
            'log_level = "WARNING"\n'
            f"[ingest]\nport = {ingest_port}\nlow_water_bytes = 0\n"
            f"[broker]\nembedded_port = {broker_port}\n"
            "[monitoring]\n"
            + "".join(f"{key} = 0\n" for key in PORT_KEYS.values())
            + f"[web]\nport = {web_port}\n"
            f"[results]\nquiet_seconds = {_QUIET_SECONDS}\n"
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
        login = PageLogin(f"http://127.0.0.1:{web_port}", "demo", secrets.token_urlsafe(12))
        Accounts(settings.accounts_file).set_account(login.name, Role.OPERATOR, login.password)
        journal = Journal(settings.journal_url)
        stack.callback(journal.close)
        yield Demonstration(settings, archive, journal, login)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all held at once so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]
