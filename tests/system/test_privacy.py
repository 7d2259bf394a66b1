"""The whole service runs on images of marked patients, good ones and bad ones; then everything
that it has written, but the images and results themselves, is searched for the marks."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import numpy as np
import pytest
import requests
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode, encode_file_meta
from redis import Redis

from service.association import Acceptor
from service.commitment.information import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    action_information,
)
from service.journal.records import ImageState
from service.scu import send_files
from service.still_image import wrap_pixels
from tests.delivery.dicomweb import Request, Response, WebServer

from .conftest import PROCESSES, Up

SECONDS = 120
LATIN, KANJI = "ZZQMARK^PATIENT", "山田^太郎"
MARKS = {
    "PatientName": LATIN,
    "PatientID": "ZZQID4711",
    "PatientBirthDate": "19130417",
    "AccessionNumber": "ZZQACC99",
    "ReferringPhysicianName": "ZZQREF^DOC",
    "InstitutionName": "ZZQ HOSPITAL",
    "OtherPatientNames": "ZZQOTHER",
    "PatientAddress": "ZZQ STREET 5",
    "StudyDescription": "ZZQ STUDY",
    "SeriesDescription": "ZZQ SERIES",
    "OperatorsName": "ZZQOP",
}
REFUSED = "refused for ZZQMARK^PATIENT ZZQID4711"
UIDS = "the journal's UIDs"
"""The one place where UIDs may be; a patient's marks may not."""
UID_COLUMNS = {
    *("sop_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid"),
    *("uids", "transaction_uid", "awaited", "references"),
}


def marked(number: int, **different: object) -> Dataset:
    pixels = np.random.default_rng(number).integers(1, 250, (80, 96, 3), dtype=np.uint8)
    data_set = wrap_pixels(np.repeat(pixels[..., :1], 3, axis=2), f"privacy-{number}")
    for keyword, value in {**MARKS, **different}.items():
        setattr(data_set, keyword, value)
    data_set.StudyInstanceUID, data_set.SOPInstanceUID = generate_uid(), generate_uid()
    data_set.add_new((0x0009, 0x0010), "LO", "ZZQ CREATOR")
    data_set.add_new((0x0009, 0x1001), "LO", LATIN)
    item = Dataset()
    item.PatientID = "ZZQOTHERID"
    data_set.OtherPatientIDsSequence = [item]
    return data_set


def images() -> dict[str, Dataset]:
    """By what is the matter with them."""
    truncated, frameless, nonsense, belied = marked(4), marked(5), marked(6), marked(7)
    truncated.PixelData = truncated.PixelData[:100]
    frameless.NumberOfFrames = -1
    nonsense.SpecificCharacterSet = "NONSENSE"
    doppler = marked(8)
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 3, 3, 0
    doppler.SequenceOfUltrasoundRegions = [region]
    return {
        "good": marked(1, SpecificCharacterSet="ISO_IR 100"),
        "UTF-8": marked(2, SpecificCharacterSet="ISO_IR 192", PatientName=f"{LATIN}={KANJI}"),
        "Japanese": marked(
            3, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=f"{LATIN}={KANJI}"
        ),
        "truncated": truncated,
        "frames that are no count": frameless,
        "no character set": nonsense,
        "belied by its command": belied,
        "Doppler": doppler,
    }


def write(data_set: Dataset, path: Path, uid: str | None = None) -> Path:
    """uid: what the command will say in place of the data set's own SOP Instance UID."""
    data_set.file_meta.MediaStorageSOPInstanceUID = uid or data_set.SOPInstanceUID
    data_set.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    content = encode(data_set, is_implicit_vr=False, is_little_endian=True)
    assert content is not None
    path.write_bytes(b"\0" * 128 + b"DICM" + encode_file_meta(data_set.file_meta) + content)
    return path


@dataclass(frozen=True)
class Run:
    """What a run has written, by place, and the UIDs of its images and results."""

    places: dict[str, bytes]
    uids: list[str]
    states: set[ImageState]


def refusing_pacs() -> Acceptor:
    """Names the patient in each Error Comment."""

    def store(event: evt.Event) -> Dataset:
        answer = Dataset()
        answer.Status, answer.ErrorComment = 0xC001, REFUSED[:64]
        return answer

    ae = AE("PACS")
    for sop_class in ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7"):
        ae.add_supported_context(sop_class, "1.2.840.10008.1.2.1")
    acceptor = Acceptor(ae, "127.0.0.1", 0, [(evt.EVT_C_STORE, store)])
    acceptor.start()
    return acceptor


def web_answer(request: Request) -> Response:
    return Response(409, f"<html>{REFUSED} {request.body[:2000]!r}</html>".encode(), "text/html")


@pytest.fixture(scope="module")
def run(shared_up, small_model, eventually, tmp_path_factory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("scanner")
    pacs, web = refusing_pacs(), WebServer(web_answer)
    destinations = [
        f'host = "127.0.0.1"\nport = {pacs.port}\nae_title = "PACS"',
        f'url = "{web.url}/dicom-web"',
    ]
    extra = ("retry.refusals = 2", "retry.first_seconds = 0.3", "retry.longest_seconds = 0.5")
    extra += ("keeper.interval = 0.5", "keeper.lease = 2", 'log_level = "DEBUG"')
    service: Up = shared_up(small_model, destinations=destinations, extra=extra, quiet_seconds=2)
    service.start()
    eventually(service.is_ready, SECONDS)
    uids = []
    for name, data_set in images().items():
        names_of_it = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        uids += [str(data_set[keyword].value) for keyword in names_of_it]
        one = str(data_set.SOPInstanceUID)
        other = generate_uid() if "belied" in name else None
        send_files([write(data_set, folder / "x.dcm", other)], service.peer, "SCANNER")
    _ask_for_commitment(service, one)
    _send_garbage(service)
    _look_at_the_page(service, uids)
    service.signal("valkey-server", signal.SIGKILL)
    service.signal("analysis", signal.SIGKILL)
    eventually(lambda: not any(service.journal.counts().waiting.values()), SECONDS)
    eventually(lambda: all(service.works(name) for name in PROCESSES), SECONDS)
    places = collect(service, web)
    uids += _uids_of_results(service.data_dir / "journal.sqlite3")
    states = {row.state for row in service.journal.images()}
    yield Run(places, uids, states)
    web.close()
    pacs.stop()


def _ask_for_commitment(service: Up, uid: str) -> None:
    ae = AE("SCANNER")
    ae.add_requested_context(PUSH_MODEL)
    association = ae.associate("127.0.0.1", service.ports["dicom"])
    for information in (
        action_information(generate_uid(), [("1.2.840.10008.5.1.4.1.1.6.1", uid)]),
        _no_information(),
    ):
        association.send_n_action(information, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    association.release()


def _no_information() -> Dataset:
    """A request whose Transaction UID is a name."""
    information = action_information("1.2.9", [("1.2.3", "1.2.4")])
    information.add_new("TransactionUID", "LO", LATIN)
    return information


def _send_garbage(service: Up) -> None:
    """Where a scanner speaks: no PDU at all, and data that no PDU announced."""
    name = LATIN.encode()
    for content in (name * 20, b"\x01\x00\x00\x00\x00\x40" + name * 5, b"\x04\x00" + name * 5):
        with socket.create_connection(("127.0.0.1", service.ports["dicom"]), 10) as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass


def _look_at_the_page(service: Up, uids: list[str]) -> None:
    """Every image with its picture, a search for each UID, and requests that are refused."""
    password = "a password for tests"
    subprocess.run(
        [
            *(*service.command("account"), "add", "ann", "--role", "operator"),
            *("--password-stdin", "--config", str(service.config)),
        ],
        input=password.encode(),
        check=True,
        capture_output=True,
    )
    url = f"http://127.0.0.1:{service.ports['page']}"
    session = requests.Session()
    form = {"name": "ann", "password": password}
    assert session.post(f"{url}/login", form, timeout=20).status_code == 200
    for uid in uids:
        session.post(f"{url}/search", {"words": uid}, timeout=20)
    session.post(f"{url}/search", {"words": LATIN}, timeout=20)
    session.post(f"{url}/search", b"\xff" + LATIN.encode(), timeout=20)
    for path in (f"/{LATIN}", f"/images/{uids[0]}", f"/api/v1/images/{uids[0]}"):
        session.get(url + path, timeout=20)
    for row in service.journal.images():
        for path in (f"/images/{row.key}", f"/images/{row.key}/study"):
            assert session.get(url + path, timeout=20).status_code == 200
        for name in ("source.png", "overlay.png", "thumbnail.jpg"):
            session.get(f"{url}/api/v1/images/{row.key}/{name}", timeout=20)


def collect(service: Up, web: WebServer) -> dict[str, bytes]:
    """All that can be read without the right to see patients."""
    status = subprocess.run(
        [*service.command("status"), "--json", "--config", str(service.config)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    data = service.data_dir
    journal, uids = _journal(data / "journal.sqlite3")
    names = "\n".join(str(path.relative_to(data)) for path in data.rglob("*"))
    pids = service.descendants()
    return {
        "log": service.output.read_bytes(),
        "metrics": "".join(service.metrics(name) for name in PROCESSES).encode(),
        "status": status.stdout + status.stderr,
        "file names": names.encode(),
        "audit": _content(data / "audit"),
        "broker": _content(data / "broker"),
        "broker's memory": _memory(service.ports["broker"]),
        "journal": journal,
        UIDS: uids,
        "HTTP paths": "\n".join(request.path for request in web.requests).encode(),
        "command lines": b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids),
        "environment": b"".join(Path(f"/proc/{pid}/environ").read_bytes() for pid in pids),
    }


def _content(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def _memory(port: int) -> bytes:
    """All keys of the broker and what they hold: its files may hold it compressed."""
    found: list[object] = []
    with Redis(port=port) as broker:
        for key in broker.scan_iter():
            match broker.type(key):
                case b"string":
                    held: object = broker.get(key)
                case b"list":
                    held = broker.lrange(key, 0, -1)
                case b"set":
                    held = broker.smembers(key)
                case b"hash":
                    held = broker.hgetall(key)
                case b"zset":
                    held = broker.zrange(key, 0, -1)
                case other:
                    raise AssertionError(f"a key of type {other!r} would not be searched")
            found += [key, held]
    return repr(found).encode()


def _journal(file: Path) -> tuple[bytes, bytes]:
    """Every value of every table: those of other columns, and those of columns that hold UIDs."""
    others, uids = [], []
    with sqlite3.connect(file) as connection:
        tables = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            if table.startswith(("ix_", "sqlite_", "uq_")):
                continue
            cursor = connection.execute(f'SELECT * FROM "{table}"')
            columns = [column[0] for column in cursor.description]
            for row in cursor:
                for column, value in zip(columns, row, strict=True):
                    (uids if column in UID_COLUMNS else others).append(str(value))
    return "\n".join(others).encode(), "\n".join(uids).encode()


def _uids_of_results(file: Path) -> list[str]:
    with sqlite3.connect(file) as connection:
        return [
            uid
            for (uids,) in connection.execute("SELECT uids FROM result")
            for uid in json.loads(uids)
        ]


def unfolded(content: bytes) -> bytes:
    """With what it holds in base64, as a message of Celery does, and in percent-encoding."""
    found = re.findall(rb"[A-Za-z0-9+/]{16,}={0,2}", content)
    decoded = [base64.b64decode(each) for each in found if len(each) % 4 == 0]
    return b"\n".join([content, unquote_to_bytes(content), *decoded])


def leaks(places: dict[str, bytes], marks: list[str]) -> list[str]:
    """Place and mark, in whatever encoding."""
    found = []
    for place, written_there in places.items():
        content = unfolded(written_there).lower()
        for mark in marks:
            for encoding in ("utf-8", "utf-16-le", "iso2022_jp", "shift_jis", "unicode_escape"):
                try:
                    written = mark.encode(encoding)
                except UnicodeEncodeError:
                    continue
                if written.lower() in content:
                    found.append(f"{mark} in {place}")
                    break
    return found


def test_the_run_had_everything_in_it(run: Run) -> None:
    """Or there would be nothing to find."""
    assert {ImageState.FAILED} <= run.states
    assert set(run.places) >= {"log", "metrics", "audit", "broker", "journal", "HTTP paths"}
    for place, content in run.places.items():
        assert content, place
    log = run.places["log"].decode()
    for said in ("failed for good", "refused with 0xA900", "signal 9", "commitment"):
        assert said in log, said


def test_no_mark_of_a_patient_is_anywhere(run: Run) -> None:
    marks = ["ZZQ", KANJI.partition("^")[0], KANJI, *MARKS.values()]
    assert leaks(run.places, marks) == []


def test_no_uid_of_an_image_is_where_people_look(run: Run) -> None:
    elsewhere = {place: content for place, content in run.places.items() if place != UIDS}
    assert leaks(elsewhere, run.uids) == []
    assert leaks(run.places, run.uids), "the UIDs are not those that the journal has"


def test_what_is_planted_is_found(run: Run) -> None:
    for place in run.places:
        for mark, encoding in ((LATIN, "utf-8"), (KANJI, "iso2022_jp"), (LATIN, "utf-16-le")):
            planted = {**run.places, place: run.places[place] + mark.encode(encoding)}
            assert leaks(planted, [mark]) == [f"{mark} in {place}"]


def test_what_is_planted_in_a_message_is_found(run: Run) -> None:
    """Celery's messages hold their arguments in base64; the broker has some of ours."""
    body = json.dumps([[LATIN], {}, {}]).encode()
    planted = b'{"body": "' + base64.b64encode(body) + b'", "content-type": "application/json"}'
    assert leaks({"broker": run.places["broker"] + planted}, [LATIN]) == [f"{LATIN} in broker"]
    keys = set(re.findall(rb"\b[0-9a-f]{32}\b", run.places["log"]))
    messages = unfolded(run.places["broker"]).replace(run.places["broker"], b"")
    assert any(key in messages for key in keys), "no argument of ours is found in the messages"
    assert leaks({"paths": b"/studies/" + quote(KANJI).encode()}, [KANJI]) == [f"{KANJI} in paths"]


def test_no_process_of_ours_dumps_core(shared_up, small_model, eventually) -> None:
    service = shared_up(small_model)
    service.start()
    eventually(service.is_ready, SECONDS)
    for name in (*PROCESSES, "valkey-server"):
        for pid in service.descendants(name):
            limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
            (line,) = (line for line in limits if line.startswith("Max core file size"))
            assert line.split()[4] == "0", name
