"""A result reaches the PACS, whatever the PACS does meanwhile."""

from __future__ import annotations

import socket
import threading
import time

import pydicom
import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE, evt

from service.association import Acceptor
from service.journal.records import AnalysisOutcome, DeliveryState, ImageState

PACS = "pacs"


def test_result_arrives_in_orthanc_in_the_study_of_the_image(
    office, orthanc, results, us_dicom, dcmtk
) -> None:
    image = us_dicom / "breast" / "uta4_p1_d045f565_IM128.dcm"
    assert dcmtk("storescu", "127.0.0.1", orthanc.port, image).returncode == 0
    study = str(pydicom.dcmread(image, stop_before_pixels=True).StudyInstanceUID)
    objects = results(study)
    key = office.analysed(objects)
    office.deliverer(orthanc.port, orthanc.ae_title).deliver(key, PACS)
    assert office.row(key).state is ImageState.DELIVERED
    assert office.delivery(key).state is DeliveryState.DELIVERED
    found = {
        orthanc.get(f"/instances/{instance}/simplified-tags")["Modality"]
        for item in orthanc.find("Series", StudyInstanceUID=study)
        for instance in item["Instances"]
    }
    assert found == {"US", "SR", "OT"}
    assert office.count("delivered") == 1


def test_objects_arrive_byte_for_byte_on_one_association(
    office, local_archive, results, data_set_bytes, us_dicom
) -> None:
    real = {"us.dcm": (us_dicom / "other" / "dcm4che__YBR_FULL-RLE.dcm").read_bytes()}
    objects = results() | real
    key = office.analysed(objects)
    office.deliverer(local_archive.port).deliver(key, PACS)
    assert office.row(key).state is ImageState.DELIVERED
    folder = office.spool.results_folder(key)
    for name in objects:
        source = folder / name
        meta = pydicom.filereader.read_file_meta_info(source)
        stored = local_archive.find(meta.MediaStorageSOPInstanceUID)
        assert stored is not None
        assert data_set_bytes(stored) == data_set_bytes(source)
        assert pydicom.filereader.read_file_meta_info(stored).TransferSyntaxUID == (
            meta.TransferSyntaxUID
        )


@pytest.mark.parametrize("warning", [0xB000, 0xB006, 0xB007])
def test_warning_counts_as_stored(warning, office, moody_archive, results) -> None:
    archive = moody_archive(warning, warning)
    key = office.analysed(results())
    office.deliverer(archive.port).deliver(key, PACS)
    assert office.row(key).state is ImageState.DELIVERED


def test_full_pacs_is_tried_again_until_it_has_room(office, moody_archive, results) -> None:
    archive = moody_archive(0xA700, 0x0000, 0xA700, 0x0000)
    key = office.analysed(results())
    deliverer = office.deliverer(archive.port)
    for attempt in (1, 2):
        deliverer.deliver(key, PACS)
        assert office.row(key).state is ImageState.ANALYSED
        assert office.delivery(key).attempts == attempt
        assert office.delivery(key).last_error == "sr.dcm: refused (0xA700)"
        office.wait_for_next_attempt(key)
    deliverer.deliver(key, PACS)
    assert office.row(key).state is ImageState.DELIVERED
    assert len(archive.files()) == 2
    assert (office.count("retry"), office.count("delivered")) == (2, 1)


def test_attempt_before_its_time_does_nothing(office, moody_archive, results) -> None:
    archive = moody_archive(0xA700, 0xA700)
    key = office.analysed(results())
    deliverer = office.deliverer(archive.port)
    deliverer.deliver(key, PACS)
    deliverer.deliver(key, PACS)
    assert office.delivery(key).attempts == 1
    assert archive.files() == []


def test_pacs_that_refuses_the_object_ends_in_failed(office, moody_archive, results) -> None:
    archive = moody_archive(*[0xA900] * 6)
    key = office.analysed(results())
    deliverer = office.deliverer(archive.port, retry={"refusals": 3})
    for _ in range(2):
        deliverer.deliver(key, PACS)
        office.wait_for_next_attempt(key)
    deliverer.deliver(key, PACS)
    assert office.row(key).state is ImageState.FAILED
    assert office.delivery(key).state is DeliveryState.FAILED
    assert office.delivery(key).last_error == ("sr.dcm: refused (0xA900); sc.dcm: refused (0xA900)")
    assert archive.answers == []
    assert (office.count("refused"), office.count("failed")) == (2, 1)


def test_failed_delivery_goes_through_after_replay(office, moody_archive, results) -> None:
    archive = moody_archive(0xC000, 0xC000)
    key = office.analysed(results())
    deliverer = office.deliverer(archive.port, retry={"refusals": 1})
    deliverer.deliver(key, PACS)
    assert office.row(key).state is ImageState.FAILED
    assert office.journal.replay([key]) == 1
    deliverer.deliver(key, PACS)
    assert office.row(key).state is ImageState.DELIVERED


def test_object_whose_sop_class_the_pacs_rejects_fails_and_the_other_is_stored(
    office, results
) -> None:
    stored = []
    ae = AE("ARCHIVE")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.88.34")
    acceptor = Acceptor(
        ae, "127.0.0.1", 0, [(evt.EVT_C_STORE, lambda event: stored.append(event) or 0x0000)]
    )
    acceptor.start()
    try:
        key = office.analysed(results())
        office.deliverer(acceptor.port, retry={"refusals": 1}).deliver(key, PACS)
    finally:
        acceptor.stop()
    assert len(stored) == 1
    assert office.row(key).state is ImageState.FAILED
    assert office.delivery(key).last_error == (
        "sc.dcm: the peer rejected its SOP class or transfer syntax"
    )


def test_pacs_that_is_down_is_tried_with_growing_waits_and_delivered_when_it_is_back(
    office, moody_archive, results, free_port
) -> None:
    port = free_port()
    key = office.analysed(results())
    deliverer = office.deliverer(port, retry={"first_seconds": 2, "longest_seconds": 900})
    waits = []
    for _ in range(8):
        deliverer.deliver(key, PACS)
        waits.append(office.wait_for_next_attempt(key))
    assert all(2 <= wait <= 900 for wait in waits)
    assert waits[2] < waits[4] < waits[6]
    assert waits[7] > 100
    assert "no connection to ARCHIVE at 127.0.0.1" in str(office.delivery(key).last_error)
    archive = moody_archive(port=port)
    deliverer.deliver(key, PACS)
    assert office.row(key).state is ImageState.DELIVERED
    assert len(archive.files()) == 2


def test_pacs_that_does_not_know_us_is_tried_until_it_does(office, results) -> None:
    ae = AE("ARCHIVE")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.7")
    ae.require_calling_aet = ["SOMEBODY"]
    acceptor = Acceptor(ae, "127.0.0.1", 0, [])
    acceptor.start()
    try:
        key = office.analysed(results())
        office.deliverer(acceptor.port, retry={"refusals": 1}).deliver(key, PACS)
    finally:
        acceptor.stop()
    assert office.delivery(key).state is DeliveryState.PENDING
    assert "calling ae title not recognised" in str(office.delivery(key).last_error)


def test_pacs_that_accepts_the_connection_and_says_nothing_is_given_up_and_tried_again(
    office, results
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        key = office.analysed(results())
        started = time.monotonic()
        office.deliverer(silent.getsockname()[1]).deliver(key, PACS)
    assert time.monotonic() - started < 10
    assert "did not answer the association request" in str(office.delivery(key).last_error)
    assert office.delivery(key).state is DeliveryState.PENDING


def test_orthanc_that_hangs_is_given_up_and_tried_again(office, orthanc, results) -> None:
    key = office.analysed(results())
    deliverer = office.deliverer(orthanc.port, orthanc.ae_title)
    orthanc.freeze()
    started = time.monotonic()
    deliverer.deliver(key, PACS)
    assert time.monotonic() - started < 10
    orthanc.thaw()
    office.wait_for_next_attempt(key)
    deliverer.deliver(key, PACS)
    assert office.row(key).state is ImageState.DELIVERED


def test_pacs_that_stops_reading_in_the_middle_is_given_up_and_tried_again(office, results) -> None:
    """Its receive buffer fills, and our write must not wait for good."""
    reading = threading.Event()
    ae = AE("ARCHIVE")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.88.34")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.7")

    def stop_reading(event: evt.Event) -> None:
        if event.pdu.pdu_type == 0x04:
            reading.wait(30)

    acceptor = Acceptor(
        ae,
        "127.0.0.1",
        0,
        [(evt.EVT_PDU_RECV, stop_reading), (evt.EVT_C_STORE, lambda event: 0x0000)],
    )
    acceptor.start()
    try:
        capture_first = dict(reversed(results(pixel_bytes=32 << 20).items()))
        key = office.analysed(capture_first)
        started = time.monotonic()
        office.deliverer(acceptor.port).deliver(key, PACS)
        assert time.monotonic() - started < 15
    finally:
        reading.set()
        acceptor.stop()
    assert office.delivery(key).state is DeliveryState.PENDING
    assert "sc.dcm: the peer did not answer" in str(office.delivery(key).last_error)


def test_destination_that_was_removed_from_the_configuration_fails_clearly(
    office, local_archive, results
) -> None:
    key = office.analysed(results())
    deliverer = office.deliverer(local_archive.port, destinations=[])
    deliverer.deliver(key, PACS)
    assert office.row(key).state is ImageState.FAILED
    assert office.delivery(key).last_error == "the destination is no longer configured"


def test_result_that_is_missing_on_disk_fails_after_bounded_tries(
    office, local_archive, results
) -> None:
    key = office.analysed(results())
    (office.spool.results_folder(key) / "sc.dcm").unlink()
    office.deliverer(local_archive.port, retry={"refusals": 1}).deliver(key, PACS)
    assert office.row(key).state is ImageState.FAILED
    assert office.delivery(key).last_error == "sc.dcm cannot be read: No such file or directory"


def test_message_that_comes_again_sends_nothing_again(office, moody_archive, results) -> None:
    archive = moody_archive()
    key = office.analysed(results())
    deliverer = office.deliverer(archive.port)
    deliverer.deliver(key, PACS)
    archive.stop()
    deliverer.deliver(key, PACS)
    deliverer.deliver(generate_uid()[-32:], PACS)
    assert office.row(key).state is ImageState.DELIVERED
    assert office.delivery(key).attempts == 1


def test_lease_is_renewed_while_a_slow_pacs_stores(
    office, moody_archive, results, monkeypatch
) -> None:
    archive = moody_archive(seconds=0.6)
    renewed = []
    renew = office.journal.renew_delivery

    def counted(*arguments) -> bool:
        renewed.append(renew(*arguments))
        return renewed[-1]

    monkeypatch.setattr(office.journal, "renew_delivery", counted)
    key = office.analysed(results())
    office.deliverer(archive.port, keeper={"lease": 0.6}).deliver(key, PACS)
    assert len(renewed) >= 3
    assert all(renewed)
    assert office.row(key).state is ImageState.DELIVERED


def test_the_time_since_receipt_is_measured_for_first_results_alone(
    office, local_archive, results
) -> None:
    deliverer = office.deliverer(local_archive.port)

    def measured() -> float:
        labels = {"destination": PACS}
        name = "secondread_image_seconds_count"
        return office.metrics.registry.get_sample_value(name, labels) or 0

    key = office.analysed(results())
    deliverer.deliver(key, PACS)
    assert measured() == 1
    assert office.journal.ask_again(key, "cd" * 32)
    again = office.journal.lease_analysis(key, 60)
    objects = results()
    office.spool.write_results(again.parcel, objects.items())
    outcome = AnalysisOutcome(ImageState.ANALYSED, "m" * 64, objects=tuple(objects))
    office.journal.record_outcome(again, outcome, {PACS: tuple(objects)})
    deliverer.deliver(again.parcel, PACS)
    assert office.count("delivered") == 2
    assert measured() == 1
