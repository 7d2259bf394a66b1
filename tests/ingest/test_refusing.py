"""Who and what is refused, with which status, and what a refusal leaves behind: nothing."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time

import pytest

from service.journal.journal import Journal, JournalError
from service.scu import Answer, echo, send_files


def statuses(ingest, *files) -> list[int | None]:
    return [outcome.status for outcome in send_files(files, ingest.peer, "SCANNER")]


def assert_nothing_kept(ingest) -> None:
    assert ingest.rows() == []
    assert ingest.images() == []
    assert ingest.incoming() == []
    assert ingest.count("refused") == 1


def test_unknown_calling_ae_title_is_rejected(start_ingest, dcmtk) -> None:
    ingest = start_ingest(
        peers=[{"ae_title": title, "address": "127.0.0.1"} for title in ("US1", "US2")]
    )
    assert dcmtk("echoscu", "-aet", "US2", "127.0.0.1", ingest.port).returncode == 0
    stranger = dcmtk("echoscu", "-aet", "US3", "127.0.0.1", ingest.port)
    assert stranger.returncode != 0
    assert "Calling AE Title Not Recognized" in stranger.stdout


def test_wrong_called_ae_title_is_rejected_where_that_is_required(start_ingest, dcmtk) -> None:
    ingest = start_ingest(ae_title="READER", require_called_ae_title=True)
    assert dcmtk("echoscu", "-aec", "READER", "127.0.0.1", ingest.port).returncode == 0
    wrong = dcmtk("echoscu", "-aec", "OTHER", "127.0.0.1", ingest.port)
    assert wrong.returncode != 0
    assert "Called AE Title Not Recognized" in wrong.stdout


def test_one_association_too_many_is_rejected_for_now(
    start_ingest, associate, dcmtk, eventually
) -> None:
    ingest = start_ingest(max_associations=1)
    first = associate(ingest.port)
    assert first.is_established
    late = dcmtk("echoscu", "127.0.0.1", ingest.port)
    assert late.returncode != 0
    assert "Local Limit Exceeded" in late.stdout
    first.release()
    eventually(lambda: dcmtk("echoscu", "127.0.0.1", ingest.port).returncode == 0)


def test_jpeg_xl_is_refused_at_negotiation_and_the_rest_is_stored(ingest, us_dicom) -> None:
    files = [
        us_dicom / "other" / "dcm4che__will-jxl.dcm",
        us_dicom / "other" / "dcm4che__YBR_422.dcm",
    ]
    jpeg_xl, other = send_files(files, ingest.peer, "SCANNER")
    assert jpeg_xl.answer is Answer.NO_CONTEXT
    assert other.stored
    assert len(ingest.rows()) == 1


def test_full_disk_is_answered_out_of_resources(start_ingest, dcmtk, us_dicom) -> None:
    ingest = start_ingest(low_water_bytes=1 << 60)
    sent = dcmtk(
        "storescu", "-v", "127.0.0.1", ingest.port, us_dicom / "other" / "dcm4che__YBR_422.dcm"
    )
    assert sent.returncode != 0
    assert "0xa700" in sent.stdout.lower() or "OutOfResources" in sent.stdout
    assert_nothing_kept(ingest)


class JournalThatIsDown(Journal):
    """The real journal, but nothing can be recorded while it is down."""

    down = True

    def record_received(self, image):
        if self.down:
            raise JournalError("the database does not answer")
        return super().record_received(image)


def test_journal_down_refuses_and_the_next_attempt_is_stored(
    start_ingest, tmp_path, small_image
) -> None:
    broken = JournalThatIsDown(f"sqlite:///{tmp_path / 'journal.sqlite3'}")
    ingest = start_ingest(journal=broken)
    image = small_image()
    assert statuses(ingest, image) == [0xA700]
    assert ingest.rows() == []
    assert ingest.incoming() == []
    broken.down = False
    assert statuses(ingest, image) == [0x0000]
    assert len(ingest.rows()) == len(ingest.images()) == 1
    broken.close()


def test_spool_that_cannot_be_written_refuses(ingest, small_image, monkeypatch) -> None:
    def no_space(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    assert statuses(ingest, small_image()) == [0xA700]
    monkeypatch.undo()
    assert_nothing_kept(ingest)


@pytest.mark.parametrize(
    ("elements", "status"),
    [
        ({"SOPInstanceUID": None}, 0xC000),
        ({"SOPClassUID": None}, 0xC000),
        ({"SOPInstanceUID": "1.2.3"}, 0xA900),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, 0xA900),
    ],
)
def test_data_set_that_belies_its_command_is_refused(elements, status, ingest, small_image) -> None:
    assert statuses(ingest, small_image(**elements)) == [status]
    assert_nothing_kept(ingest)


def test_bytes_that_are_no_data_set_are_refused_and_the_next_is_stored(
    ingest, small_image, data_set_bytes
) -> None:
    garbage = small_image()
    content = garbage.read_bytes()
    garbage.write_bytes(
        content[: -len(data_set_bytes(garbage))] + b"\x08\x00\x05\x00CS\xff\xff" * 9
    )
    assert statuses(ingest, garbage, small_image()) == [0xC000, 0x0000]


def test_truncated_data_set_is_stored_for_the_analysis_to_judge(ingest, us_dicom, tmp_path) -> None:
    cut = tmp_path / "cut.dcm"
    cut.write_bytes((us_dicom / "other" / "dcm4che__YBR_422.dcm").read_bytes()[:200_000])
    assert statuses(ingest, cut) == [0x0000]


def test_refusal_is_logged_by_key_and_counted(ingest, small_image, caplog) -> None:
    image = small_image(SOPInstanceUID="1.2.3.4.5.6.7")
    with caplog.at_level(logging.INFO):
        statuses(ingest, image)
    assert "refused with 0xA900" in caplog.text
    assert "1.2.3.4.5.6.7" not in caplog.text
    assert image.stem not in caplog.text


def test_left_overs_of_a_crash_are_removed_at_the_start_but_not_the_young(
    start_ingest, tmp_path
) -> None:
    incoming = tmp_path / "spool" / "incoming"
    incoming.mkdir(parents=True)
    old, young = incoming / "old.tmp", incoming / "young.tmp"
    for path in (old, young):
        path.write_bytes(b"half an image")
    os.utime(old, (time.time() - 7200,) * 2)
    ingest = start_ingest()
    assert ingest.incoming() == [young]


def test_stranger_who_speaks_no_dicom_does_no_harm(ingest) -> None:
    with socket.create_connection(("127.0.0.1", ingest.port), 5) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert echo(ingest.peer, "SCANNER") == 0


def test_port_probes_take_no_association_away(start_ingest, dcmtk, eventually) -> None:
    ingest = start_ingest(max_associations=1)
    for _ in range(3):
        socket.create_connection(("127.0.0.1", ingest.port), 5).close()
    eventually(lambda: dcmtk("echoscu", "127.0.0.1", ingest.port).returncode == 0, 5)
