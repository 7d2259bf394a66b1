"""What a scanner sends is on disk as it came, with its row in the journal, and announced once."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pydicom
import pytest

from service.journal.records import ImageState
from service.scu import send_files
from service.spool import image_key

EXPLICIT_LE = "1.2.840.10008.1.2.1"
JPEG_XL = "dcm4che__will-jxl.dcm"


def test_echo(ingest, dcmtk) -> None:
    assert dcmtk("echoscu", "127.0.0.1", ingest.port).returncode == 0


def test_success_means_file_row_and_message(ingest, dcmtk, eventually, us_dicom) -> None:
    source = us_dicom / "breast" / "uta4_p1_d045f565_IM128.dcm"
    sent = dcmtk(
        "storescu", "-aet", "SCANNER", "-aec", "SECONDREAD", "127.0.0.1", ingest.port, source
    )
    assert sent.returncode == 0, sent.stdout
    (row,) = ingest.rows()
    source_uid = pydicom.dcmread(source, stop_before_pixels=True).SOPInstanceUID
    assert row.state is ImageState.RECEIVED
    assert row.sop_instance_uid == source_uid
    assert row.transfer_syntax_uid == EXPLICIT_LE
    assert ingest.images() == [ingest.spool.image_path(row.key)]
    assert ingest.incoming() == []
    eventually(lambda: ingest.published == [row.key])
    assert ingest.count("stored") == 1


def test_every_accepted_file_is_kept_byte_for_byte(
    ingest, eventually, us_dicom, data_set_bytes
) -> None:
    files = sorted(path for path in us_dicom.glob("*/*.dcm") if path.name != JPEG_XL)
    outcomes = send_files(files, ingest.peer, "SCANNER")
    assert [outcome.text for outcome in outcomes] == ["stored (0x0000)"] * len(files)
    for path in files:
        meta = pydicom.filereader.read_file_meta_info(path)
        data_set = data_set_bytes(path)
        key = image_key(
            meta.MediaStorageSOPInstanceUID,
            meta.TransferSyntaxUID,
            hashlib.sha256(data_set).hexdigest(),
        )
        kept = ingest.spool.image_path(key)
        assert data_set_bytes(kept) == data_set, path.name
        assert pydicom.filereader.read_file_meta_info(kept).TransferSyntaxUID == (
            meta.TransferSyntaxUID
        )
    assert len(ingest.rows()) == len(files)


@pytest.mark.parametrize(
    ("option", "transfer_syntax", "convert"),
    [
        ("-xi", "1.2.840.10008.1.2", ["dcmconv", "+ti"]),
        ("-xb", "1.2.840.10008.1.2.2", ["dcmconv", "+tb"]),
        ("-xd", "1.2.840.10008.1.2.1.99", ["dcmconv", "+td"]),
        ("-xr", "1.2.840.10008.1.2.5", ["dcmcrle"]),
        ("-xy", "1.2.840.10008.1.2.4.50", ["dcmcjpeg", "+eb"]),
        ("-xx", "1.2.840.10008.1.2.4.51", ["dcmcjpeg", "+ee"]),
        ("-xs", "1.2.840.10008.1.2.4.70", ["dcmcjpeg", "+e1"]),
        ("-xt", "1.2.840.10008.1.2.4.80", ["dcmcjpls", "+el"]),
        ("-xu", "1.2.840.10008.1.2.4.81", ["dcmcjpls", "+en"]),
    ],
)
def test_dcmtk_scanner_sends_each_transfer_syntax(
    option, transfer_syntax, convert, ingest, dcmtk, us_dicom, tmp_path
) -> None:
    source = us_dicom / "breast" / "uta4_p2_9cfd047c_IM256.dcm"
    encoded = tmp_path / "encoded.dcm"
    converted = dcmtk(*convert, source, encoded)
    assert converted.returncode == 0, converted.stdout
    sent = dcmtk("storescu", option, "127.0.0.1", ingest.port, encoded)
    assert sent.returncode == 0, sent.stdout
    (row,) = ingest.rows()
    assert row.transfer_syntax_uid == transfer_syntax
    kept = pydicom.dcmread(ingest.spool.image_path(row.key))
    assert kept.file_meta.TransferSyntaxUID == transfer_syntax
    assert kept.PixelData == pydicom.dcmread(encoded).PixelData


def test_dcmsend_sends_jpeg_2000(ingest, dcmtk, us_dicom) -> None:
    files = [us_dicom / "other" / f"pydicom-data__US1_J2K{kind}.dcm" for kind in "RI"]
    sent = dcmtk("dcmsend", "--decompress-never", "127.0.0.1", ingest.port, *files)
    assert sent.returncode == 0, sent.stdout
    assert {row.transfer_syntax_uid for row in ingest.rows()} == {
        "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.4.91",
    }


def test_retired_ultrasound_class_is_analysed_too(ingest, eventually, small_image) -> None:
    image = small_image(sop_class="1.2.840.10008.5.1.4.1.1.6")
    (outcome,) = send_files([image], ingest.peer, "OLD")
    assert outcome.stored
    (row,) = ingest.rows()
    assert row.state is ImageState.RECEIVED
    eventually(lambda: ingest.published == [row.key])


def test_secondary_capture_is_kept_and_ignored(ingest, dcmtk, us_dicom) -> None:
    capture = us_dicom / "breast" / "uta11_a661b03c_IM4.dcm"
    assert dcmtk("storescu", "127.0.0.1", ingest.port, capture).returncode == 0
    (row,) = ingest.rows()
    assert row.state is ImageState.IGNORED
    assert ingest.spool.image_path(row.key).is_file()
    assert ingest.count("ignored") == 1
    ingest.scp.stop(drain=1)
    assert ingest.published == []


def test_same_file_twice_is_one_image(ingest, dcmtk, us_dicom) -> None:
    source = us_dicom / "breast" / "uta4_p3_aec1f10a_IM177.dcm"
    for _ in range(2):
        assert dcmtk("storescu", "127.0.0.1", ingest.port, source).returncode == 0
    (row,) = ingest.rows()
    assert row.duplicates == 1
    assert len(ingest.images()) == 1
    assert (ingest.count("stored"), ingest.count("duplicate")) == (1, 1)
    ingest.scp.stop(drain=1)
    assert ingest.published == [row.key]


def test_several_scanners_at_once(ingest, dcmtk, eventually, us_dicom) -> None:
    files = sorted((us_dicom / "breast").glob("uta[47]*.dcm"))

    def scan(path):
        return dcmtk("storescu", "--repeat", 3, "+II", "127.0.0.1", ingest.port, path)

    with ThreadPoolExecutor(6) as pool:
        for sent in pool.map(scan, files[:6]):
            assert sent.returncode == 0, sent.stdout
    assert len(ingest.rows()) == len(ingest.images()) == 18
    eventually(lambda: sorted(ingest.published) == sorted(row.key for row in ingest.rows()))


def test_same_image_from_two_scanners_at_once_is_one_image(ingest, dcmtk, us_dicom) -> None:
    source = us_dicom / "breast" / "uta4_p1_d045f565_IM128.dcm"
    with ThreadPoolExecutor(4) as pool:
        sent = list(
            pool.map(lambda _: dcmtk("storescu", "127.0.0.1", ingest.port, source), range(4))
        )
    assert [item.returncode for item in sent] == [0, 0, 0, 0]
    (row,) = ingest.rows()
    assert row.duplicates == 3
    ingest.scp.stop(drain=1)
    assert ingest.published == [row.key]
