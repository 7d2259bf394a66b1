"""One image, all the way: a scanner sends it, its results come back to the PACS."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    UltrasoundImageStorage,
    generate_uid,
)
from pynetdicom.dsutils import encode_file_meta

from dicom_sr.finding import Box, Finding
from dicom_sr.overlay import draw_overlay
from service.analysis.model_package import load_model_package
from service.journal.records import ImageState
from service.scu import Answer, send_files

# Some of the real files have UIDs that break the rules, and pydicom says so.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")

SECONDS = 180
BREAST = "breast/uta4_p1_d045f565_IM128.dcm"
JPEG_XL = "dcm4che__will-jxl.dcm"
MADE_EXPLICIT_BY_DCMTK = {ImplicitVRLittleEndian, ExplicitVRBigEndian}
PROCESSES = ("ingest", "analysis", "delivery", "keeper", "web")


@dataclass
class Road:
    """The running service, its PACS, and what the scanner has sent so far."""

    service: Any
    pacs: Any
    dcmtk: Any
    eventually: Any
    sent: list[Path] = field(default_factory=list)

    def send(self, path: Path) -> None:
        """C-STORE one file in the transfer syntax that it has, with dcmtk where that can do it."""
        self.sent.append(path)
        if read_file_meta_info(path).TransferSyntaxUID in MADE_EXPLICIT_BY_DCMTK:
            (outcome,) = send_files([path], self.service.peer, "SCANNER")
            assert outcome.text == "stored (0x0000)"
            return
        done = self.dcmtk(
            *("dcmsend", "-v", "--decompress-never", "--no-uid-checks", "-aec", "SECONDREAD"),
            *("127.0.0.1", self.service.ports["dicom"], path),
        )
        assert done.returncode == 0, done.stdout
        assert "Received C-STORE Response (Success)" in done.stdout, done.stdout

    def bring(self, *paths: Path) -> None:
        """Send the files and wait for the end of the road."""
        for path in paths:
            self.send(path)
        self.eventually(lambda: self.service.is_final(*paths), SECONDS)


@pytest.fixture(scope="module")
def road(shared_up, shared_orthanc, reference_model, dcmtk, eventually):
    service = shared_up(reference_model, destinations=[shared_orthanc])
    service.start()
    eventually(service.is_ready, SECONDS)
    return Road(service, shared_orthanc, dcmtk, eventually)


@pytest.fixture(scope="module")
def every_file(road, us_dicom):
    """Each real file that the service accepts, sent and done with."""
    files = [path for path in sorted(us_dicom.glob("*/*.dcm")) if path.name != JPEG_XL]
    road.bring(*files)
    return files


def number(report: Dataset, code: str) -> Decimal:
    """The only NUM item of a report whose concept name has the code value."""
    (found,) = [
        item
        for item in walk(report)
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == code
    ]
    return Decimal(str(found.MeasuredValueSequence[0].NumericValue))


def numbers(report: Dataset) -> list[Decimal]:
    return [
        Decimal(str(item.MeasuredValueSequence[0].NumericValue))
        for item in walk(report)
        if item.ValueType == "NUM"
    ]


def walk(item: Dataset) -> list[Dataset]:
    children = list(item.get("ContentSequence", []))
    return children + [below for child in children for below in walk(child)]


def test_echo(road, dcmtk) -> None:
    echo = dcmtk("echoscu", "-aec", "SECONDREAD", "127.0.0.1", road.service.ports["dicom"])
    assert echo.returncode == 0, echo.stdout


def test_report_and_overlay_join_the_image_in_its_study(
    road, us_dicom, copy_of, results_of, dcmtk, data_set_bytes
) -> None:
    image = copy_of(us_dicom / BREAST)
    assert dcmtk("storescu", "127.0.0.1", road.pacs.port, image).returncode == 0
    road.bring(image)
    source = dcmread(image)
    study = source.StudyInstanceUID

    series = road.pacs.get(f"/dicom-web/studies/{study}/series")
    assert sorted(item["00080060"]["Value"][0] for item in series) == ["OT", "SR", "US"]
    (original,) = road.pacs.find("Instance", SOPInstanceUID=source.SOPInstanceUID)
    stored = image.with_name("stored.dcm")
    stored.write_bytes(road.pacs.content(f"/instances/{original['ID']}/file"))
    assert data_set_bytes(stored) == data_set_bytes(image)

    capture, report = results_of(road.pacs, image)
    for result in (capture, report):
        assert result.PatientName == source.PatientName
        assert result.PatientID == source.PatientID
    (reference,) = capture.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_report_overlay_and_journal_tell_one_score(
    road, us_dicom, copy_of, results_of, reference_model
) -> None:
    image = copy_of(us_dicom / BREAST)
    road.bring(image)
    outcome = road.service.row(image).outcome
    capture, report = results_of(road.pacs, image)

    malignant = number(report, "111047")
    assert float(malignant) == pytest.approx(100 * outcome.probability_malignant, abs=0.005)
    benign = 100 - malignant
    assert benign in numbers(report), "the two probabilities sum to 100 %"

    told = " ".join(str(item.value) for item in report.iterall() if item.keyword == "TextValue")
    box = Box(*outcome.region)
    finding = Finding(
        frame=outcome.frame,
        frames_scored=1,
        region=box,
        region_source="",
        probability_malignant=outcome.probability_malignant,
        probability_benign=outcome.probability_benign,
        threshold=outcome.threshold,
        cam=np.ones((box.height, box.width), dtype=np.float32),
        unlike_training="unlike those that the model was trained on" in told,
    )
    source = dcmread(image)
    black = np.zeros((source.Rows, source.Columns, 3), dtype=np.uint8)
    expected = draw_overlay(black, finding, load_model_package(reference_model).identity)
    assert np.array_equal(capture.pixel_array[source.Rows :], expected[source.Rows :])


@pytest.mark.parametrize("character_set", ["GB18030", "ISO_IR 192"])
def test_a_chinese_name_comes_back_intact(
    road, us_dicom, copy_of, results_of, character_set
) -> None:
    name = "王^小红"
    image = copy_of(us_dicom / BREAST, SpecificCharacterSet=character_set, PatientName=name)
    road.bring(image)
    results = results_of(road.pacs, image)
    assert [result.Modality for result in results] == ["OT", "SR"]
    assert [str(result.PatientName) for result in results] == [name, name]
    (study,) = road.pacs.find("Study", StudyInstanceUID=results[0].StudyInstanceUID)
    assert study["PatientMainDicomTags"]["PatientName"] == name


def test_every_file_has_an_outcome_with_a_reason(road, every_file) -> None:
    for path in every_file:
        row = road.service.row(path)
        if row.state is ImageState.IGNORED:
            assert row.ignored_reason, path.name
            continue
        assert row.state is ImageState.DELIVERED, path.name
        if row.outcome.state is ImageState.ANALYSED:
            assert 0 <= row.outcome.probability_malignant <= 1, path.name
            assert row.outcome.decision in ("malignant", "benign"), path.name
        else:
            assert row.outcome.state is ImageState.NOT_ANALYSABLE, path.name
            assert row.outcome.reason, path.name
            assert row.outcome.reason_text, path.name


def test_jpeg_xl_is_refused_at_negotiation(road, us_dicom) -> None:
    path = us_dicom / "other" / JPEG_XL
    (outcome,) = send_files([path], road.service.peer, "SCANNER")
    assert outcome.answer is Answer.NO_CONTEXT
    assert road.service.row(path) is None


def test_the_pacs_has_every_result_and_nothing_waits(road, every_file) -> None:
    rows = road.service.journal.images(1000)
    assert len(rows) >= len(every_file)
    promised = sum(len(row.outcome.objects) for row in rows if row.outcome)
    held = [
        instance
        for modality in ("SR", "OT")
        for series in road.pacs.find("Series", Modality=modality)
        for instance in series["Instances"]
    ]
    assert len(held) == promised

    told = subprocess.run(
        [*road.service.command("status"), "--json", "--config", str(road.service.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    status = json.loads(told.stdout)
    assert sum(status["images"].values()) == len(rows)
    assert status["images"]["failed"] == status["images"]["received"] == 0
    assert {stage: told["jobs"] for stage, told in status["waiting"].items()} == {
        "analysis": 0,
        "delivery": 0,
        "summary": sum(status["studies"].values()),
        "commitment": 0,
    }
    delivered = sum(1 for row in rows if row.outcome and row.outcome.objects)
    assert all(status["processes"].values())
    assert status["deliveries"]["pacs-0"] == {
        "pending": 0,
        "stored": 0,
        "delivered": delivered,
        "failed": 0,
        "cancelled": 0,
        "oldest_seconds": 0.0,
        "last_error": None,
    }


def test_a_file_that_is_sent_again_and_at_once_yields_one_result(
    road, us_dicom, copy_of, results_of
) -> None:
    image = copy_of(us_dicom / BREAST)
    with ThreadPoolExecutor(3) as scanners:
        list(scanners.map(road.send, [image] * 3))
    road.bring(image)
    assert road.service.row(image).duplicates == 3
    road.bring(image)
    assert road.service.row(image).duplicates == 4
    assert road.service.row(image).attempts == 1
    assert [result.Modality for result in results_of(road.pacs, image)] == ["OT", "SR"]


def test_a_stream_that_is_no_dicom_is_refused(road, tmp_path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path / "garbage.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + encode_file_meta(meta) + b"This is no DICOM. " * 4000)
    refused = road.service.count("ingest", "secondread_received_total", outcome="refused")
    (outcome,) = send_files([path], road.service.peer, "SCANNER")
    assert outcome.text == "refused (0xC000)"
    assert road.service.row(path) is None
    assert road.service.count("ingest", "secondread_received_total", outcome="refused") == (
        refused + 1
    )
    assert (
        "refused with 0xC000: the data set lacks its SOP Class or Instance UID"
        in road.service.text()
    )


def test_truncated_pixel_data_are_reported_as_not_analysed(
    road, us_dicom, copy_of, results_of
) -> None:
    image = copy_of(us_dicom / BREAST)
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    (sent,) = send_files([image], road.service.peer, "SCANNER")
    assert sent.stored
    road.eventually(lambda: road.service.is_final(image), SECONDS)
    row = road.service.row(image)
    assert (row.state, row.outcome.state) == (ImageState.DELIVERED, ImageState.NOT_ANALYSABLE)
    assert row.outcome.reason == "undecodable"
    (report,) = results_of(road.pacs, image)
    texts = [item.TextValue for item in walk(report) if item.ValueType == "TEXT"]
    assert any("(reason: undecodable)" in text for text in texts)


def identifiers(paths: list[Path]) -> set[str]:
    """Of the files' patients and studies; what is shorter than five characters proves nothing."""
    found = set()
    for path in paths:
        header = dcmread(path, stop_before_pixels=True)
        found |= set(re.split(r"[\^=]", str(header.get("PatientName", ""))))
        for keyword in ("PatientID", "AccessionNumber", "PatientBirthDate"):
            found.add(str(header.get(keyword) or ""))
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            found.add(str(header[keyword].value))
    return {text for text in found if len(text) > 4 or not text.isascii()}


def broker_content(service) -> bytes:
    """All keys and values, and the append-only file with each message that there ever was."""
    client = redis.Redis(port=service.ports["broker"], decode_responses=False)
    readers = {
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    keys = list(client.scan_iter())
    parts = [repr((key, readers[client.type(key)](key))).encode() for key in keys]
    client.close()
    parts += [path.read_bytes() for path in (service.data_dir / "broker").rglob("*.aof")]
    raw = b"\n".join(parts)
    bodies = re.findall(rb'"body": ?"([A-Za-z0-9+/=]+)"', raw)
    return raw + b"\n".join(base64.b64decode(body) for body in bodies)


def test_nothing_of_the_patient_is_in_logs_metrics_messages_or_names(
    road, every_file, us_dicom, copy_of
) -> None:
    path = copy_of(
        us_dicom / BREAST,
        SpecificCharacterSet="GB18030",
        PatientName="王^小红",
        PatientID="MRN-5550123",
        AccessionNumber="ACC-5550124",
        PatientBirthDate="19620317",
    )
    road.bring(path)
    files = [file for file in road.service.data_dir.rglob("*") if file.is_file()]
    places = {
        "the log": road.service.output.read_bytes(),
        "the broker's log": (road.service.data_dir / "broker" / "valkey.log").read_bytes(),
        "file names": "\n".join(map(str, files)).encode(),
        "messages": broker_content(road.service),
        **{f"metrics of {name}": road.service.metrics(name).encode() for name in PROCESSES},
    }
    for row in map(road.service.row, every_file):
        assert row.key.encode() in places["the log"]
        assert row.key.encode() in places["file names"]
        assert row.state is ImageState.IGNORED or row.key.encode() in places["messages"]
    secrets = identifiers([*road.sent, us_dicom / "other" / JPEG_XL])
    assert secrets >= {"王", "小红", "MRN-5550123", "ACC-5550124", "19620317", "Pediatric"}
    for place, content in places.items():
        for secret in secrets:
            for encoding in ("utf-8", "gb18030"):
                assert secret.encode(encoding) not in content, f"{secret} is in {place}"


def test_it_ends_cleanly_after_all_this(road, every_file) -> None:
    pids = road.service.descendants()
    road.service.process.send_signal(signal.SIGTERM)
    assert road.service.process.wait(60) == 0
    assert not road.service.alive(pids)
    assert road.service.taken_ports() == []
    assert "Traceback" not in road.service.text()


def test_nobody_else_on_the_machine_can_read_what_it_keeps(road) -> None:
    """Whatever the umask of whoever started it."""
    kept = [road.service.data_dir, *road.service.data_dir.rglob("*")]
    assert len(kept) > 20
    open_to_others = [path for path in kept if not path.is_socket() and path.stat().st_mode & 0o077]
    assert open_to_others == []
