"""The reckoning after a storm finds what it looks for: each kind of loss is planted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom import dcmread

from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.overlay import draw_overlay
from dicom_sr.part10 import part10_bytes
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, ImageState, ReceivedImage
from service.spool import Spool
from tests.chaos.accounts import Accounts, settle
from tests.chaos.scanner import Sent, make_image

PLACES = ("pacs-0", "pacs-1")
NAMES = ("sr.dcm", "sc.dcm")


class Hospital:
    """After a day on which nothing failed: a real spool and journal, an archive as a folder, and a
    PACS that hands out the files of another folder as Orthanc does."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.spool = Spool(self.data_dir / "spool")
        self.spool.prepare()
        self.journal = Journal(f"sqlite:///{self.data_dir / 'journal.sqlite3'}")
        self.journal.migrate()
        self.stores = {place: folder / place for place in PLACES}
        for store in self.stores.values():
            store.mkdir()
        pacs, archive = self.stores.values()
        self.orthanc = SimpleNamespace(
            get=lambda path: [each.name for each in pacs.iterdir()],
            content=lambda path: (pacs / path.split("/")[2]).read_bytes(),
        )
        self.archive = SimpleNamespace(came=Counter(), files=lambda: list(archive.iterdir()))
        self.sent = [self._treat(make_image(folder, number)) for number in range(3)]

    def _treat(self, sent: Sent) -> Sent:
        key = f"{len(list(self.spool.root.glob('images/*/*'))):032x}"
        image = self.spool.image_path(key)
        image.parent.mkdir(exist_ok=True)
        image.write_bytes(sent.path.read_bytes())
        now = datetime.now(UTC)
        self.journal.record_received(
            ReceivedImage(key, sent.uid, "1.2", "1.2.1", "d", 1, "SCANNER", now)
        )
        job = self.journal.lease_analysis(key, 60)
        assert job is not None
        results = _results(sent.path)
        objects = [(name, part10_bytes(each)) for name, each in zip(NAMES, results, strict=True)]
        self.spool.write_results(key, objects)
        uids = tuple(str(each.SOPInstanceUID) for each in results)
        outcome = AnalysisOutcome(ImageState.ANALYSED, "m" * 64, objects=NAMES, uids=uids)
        assert self.journal.record_outcome(job, outcome, dict.fromkeys(PLACES, NAMES))
        for place, store in self.stores.items():
            for uid, (_, content) in zip(uids, objects, strict=True):
                (store / f"{uid}.dcm").write_bytes(content)
            delivery = self.journal.lease_delivery(key, place, 60)
            assert delivery is not None
            assert self.journal.record_delivered(delivery)
        return sent

    def settle(self) -> Accounts:
        return settle(self, self.sent)  # type: ignore[arg-type]


def _results(path: Path):
    source = dcmread(path)
    box = Box(10, 10, 110, 90)
    cam = np.zeros((box.height, box.width), np.float32)
    cam[30:50, 40:60] = 1
    finding = Finding(1, 1, box, "content box", 0.7, 0.3, 0.5, cam)
    model = ModelIdentity("model", "1", "ab" * 32)
    frame = np.full((120, 160, 3), 90, np.uint8)
    when = {"revision": 0, "started_at": datetime(2026, 3, 1, tzinfo=UTC)}
    overlay = draw_overlay(frame, finding, model)
    report = build_report(source, finding, model, **when)
    return report, build_secondary_capture(source, overlay, finding, model, **when)


@pytest.fixture
def hospital(tmp_path: Path):
    hospital = Hospital(tmp_path)
    yield hospital
    hospital.journal.close()


def test_a_good_day_is_found_good(hospital: Hospital) -> None:
    accounts = hospital.settle()
    assert accounts.acknowledged == accounts.images == 3
    assert not accounts.lost + accounts.doubled + accounts.orphans + accounts.inconsistent


def _first(folder: Path, modality: str) -> Path:
    return next(path for path in folder.iterdir() if dcmread(path).Modality == modality)


def _second_report(hospital: Hospital, place: str) -> None:
    folder = hospital.stores[place]
    report = dcmread(_first(folder, "SR"))
    report.SOPInstanceUID = "1.2.3.4"
    report.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    stream = BytesIO()
    report.save_as(stream)
    (folder / "1.2.3.4.dcm").write_bytes(stream.getvalue())


def _row_of_an_unknown_image(hospital: Hospital) -> None:
    now = datetime.now(UTC)
    hospital.journal.record_received(
        ReceivedImage("f" * 32, "1.2.9", "1.2", "1.2.1", "d", 1, "SCANNER", now)
    )


def _file_without_a_row(hospital: Hospital) -> None:
    path = hospital.spool.image_path("e" * 32)
    path.parent.mkdir()
    path.write_bytes(b"x")


PLANTED: list[tuple[str, str, Callable[[Hospital], object]]] = [
    ("lost", "SR not in the PACS", lambda h: _first(h.stores["pacs-0"], "SR").unlink()),
    ("lost", "SC not in the archive", lambda h: _first(h.stores["pacs-1"], "OT").unlink()),
    ("lost", "no row", lambda h: h.sent.append(Sent(Path("x"), "1.2.3"))),
    ("lost", "no row of its second content", lambda h: h.sent.append(h.sent[0])),
    ("lost", "never finished", _row_of_an_unknown_image),
    ("doubled", "in the PACS", lambda h: _second_report(h, "pacs-0")),
    ("doubled", "in the archive", lambda h: _second_report(h, "pacs-1")),
    ("orphans", "a file without a row", _file_without_a_row),
    ("orphans", "a row without its file", _row_of_an_unknown_image),
    ("orphans", "results", lambda h: h.spool.write_results("d" * 32, [("sr.dcm", b"x")])),
    ("orphans", "left over", lambda h: (h.spool.incoming / "x.tmp").write_bytes(b"")),
    ("inconsistent", "unfinished", _row_of_an_unknown_image),
]


@pytest.mark.parametrize(
    ("kind", "what", "plant"), PLANTED, ids=[f"{kind}: {what}" for kind, what, _ in PLANTED]
)
def test_what_is_planted_is_found(
    hospital: Hospital, kind: str, what: str, plant: Callable[[Hospital], object]
) -> None:
    plant(hospital)
    assert getattr(hospital.settle(), kind), what
