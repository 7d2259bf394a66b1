"""Storage commitment with Orthanc, both ways, through the whole service."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from pydicom.filereader import read_file_meta_info

from service.journal.records import DeliveryState, ImageState
from service.scu import send_files

BREAST = "breast/uta7_Anonymized3_US000000.dcm"
SECONDS = 60


def uid_of(path: Path) -> str:
    return str(read_file_meta_info(path).MediaStorageSOPInstanceUID)


def put(orthanc, path: str, body: object, method: str = "PUT") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(orthanc.url + path, data=data, method=method)
    with urllib.request.urlopen(request, timeout=20) as response:
        return bytes(response.read())


def destination(orthanc) -> str:
    return (
        f'host = "127.0.0.1"\nport = {orthanc.port}\nae_title = "{orthanc.ae_title}"\n'
        "storage_commitment = true"
    )


@pytest.fixture
def service(up, orthanc, small_model):
    """Running, and Orthanc knows where it is."""
    service = up(small_model, destinations=[destination(orthanc)])
    modality = {"AET": "SECONDREAD", "Host": "127.0.0.1", "Port": service.ports["dicom"]}
    put(orthanc, "/modalities/secondread", modality)
    service.start()
    return service


def test_orthanc_commits_to_the_results(
    service, orthanc, us_dicom, copy_of, results_of, eventually
) -> None:
    eventually(service.is_ready, SECONDS)
    image = copy_of(us_dicom / BREAST)
    send_files([image], service.peer, "SCANNER")

    eventually(lambda: service.is_final(image), SECONDS)

    row = service.row(image)
    assert row.state is ImageState.DELIVERED
    assert [each.state for each in row.deliveries] == [DeliveryState.DELIVERED]
    assert len(results_of(orthanc, image)) == 2
    committed = service.count("ingest", "secondread_commitments_total", outcome="committed")
    assert committed == 1, "Orthanc reports on an association of its own"


def test_orthanc_is_told_what_we_keep(
    up, orthanc, small_model, us_dicom, copy_of, eventually
) -> None:
    """Orthanc in the scanner's place: it stores, asks, and is called where it listens."""
    peer = f'{{ address = "127.0.0.1", commitment_port = {orthanc.port} }}'
    service = up(small_model, extra=[f"ingest.peers = [{peer}]"])
    modality = {"AET": "SECONDREAD", "Host": "127.0.0.1", "Port": service.ports["dicom"]}
    put(orthanc, "/modalities/secondread", modality)
    service.start()
    eventually(service.is_ready, SECONDS)
    kept, lost = copy_of(us_dicom / BREAST), copy_of(us_dicom / BREAST)
    ids = [
        json.loads(put(orthanc, "/instances", path.read_bytes(), "POST"))["ID"]
        for path in (kept, lost)
    ]
    put(orthanc, "/modalities/secondread/store", ids, "POST")
    eventually(lambda: service.row(lost) is not None, SECONDS)
    service.spool.image_path(service.row(lost).key).unlink()

    asked = put(
        orthanc,
        "/modalities/secondread/storage-commitment",
        {"Resources": ids},
        "POST",
    )
    report = f"/storage-commitment/{json.loads(asked)['ID']}"
    eventually(lambda: orthanc.get(report)["Status"] != "Pending", SECONDS)

    told = orthanc.get(report)
    assert told["Status"] == "Failure"
    assert [each["SOPInstanceUID"] for each in told["Success"]] == [uid_of(kept)]
    assert [each["SOPInstanceUID"] for each in told["Failures"]] == [uid_of(lost)]
