"""Storage commitment with Orthanc, both ways, through the whole service."""

from __future__ import annotations

import json
import urllib.request

import pytest

from service.journal.records import DeliveryState, ImageState
from service.scu import send_files

BREAST = "breast/uta7_Anonymized3_US000000.dcm"
SECONDS = 60


def put(orthanc, path: str, body: object, method: str = "PUT") -> bytes:
    request = urllib.request.Request(
        orthanc.url + path, data=json.dumps(body).encode(), method=method
    )
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
