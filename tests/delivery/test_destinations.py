"""Each destination gets what it wants, in the form that it wants, on the way that it has."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom import dcmread
from pynetdicom import AE, evt

from dicom_sr.part10 import part10_bytes
from service.association import Acceptor
from service.config import ConfigurationError, Settings
from service.delivery.deliverer import Deliverer
from service.journal.records import ImageState

COMPREHENSIVE_3D, COMPREHENSIVE, ENHANCED = (
    f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (34, 33, 22)
)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PACS = "pacs"


class OldPacs:
    """Accepts some SOP classes only, and keeps what it stores."""

    def __init__(self, *sop_classes: str) -> None:
        self.stored: list[pydicom.Dataset] = []
        ae = AE("ARCHIVE")
        for sop_class in sop_classes:
            ae.add_supported_context(sop_class)
        self._acceptor = Acceptor(ae, "127.0.0.1", 0, [(evt.EVT_C_STORE, self._store)])
        self._acceptor.start()
        self.port = self._acceptor.port

    def _store(self, event: evt.Event) -> int:
        self.stored.append(dcmread(io.BytesIO(event.encoded_dataset())))
        return 0x0000

    def stop(self) -> None:
        self._acceptor.stop()


@pytest.fixture
def old_pacs() -> Iterator[Callable[..., OldPacs]]:
    running: list[OldPacs] = []

    def start(*sop_classes: str) -> OldPacs:
        running.append(OldPacs(*sop_classes))
        return running[-1]

    yield start
    for pacs in running:
        pacs.stop()


@pytest.fixture
def objects(made_objects) -> dict[str, bytes]:
    """SR and SC of one image, as the analysis makes them."""
    return {name: part10_bytes(data_set) for name, data_set in made_objects().items()}


def deliverer(office, port: int, **fields: object) -> Deliverer:
    destination = {"name": PACS, "host": "127.0.0.1", "port": port, "ae_title": "ARCHIVE"}
    settings = Settings.model_validate(
        {
            "destinations": [destination | fields],
            "delivery": {"connect_timeout": 2, "dimse_timeout": 2},
            "retry": {"refusals": 1},
        }
    )
    return Deliverer(settings, office.spool, office.journal, office.metrics, office.trail)


@pytest.mark.parametrize(
    ("accepted", "sent"),
    [
        ((COMPREHENSIVE_3D, COMPREHENSIVE, ENHANCED), COMPREHENSIVE_3D),
        ((COMPREHENSIVE, ENHANCED), COMPREHENSIVE),
        ((ENHANCED,), ENHANCED),
    ],
)
def test_a_report_goes_in_the_first_class_that_the_pacs_takes(
    office, old_pacs, objects, accepted: tuple[str, ...], sent: str
) -> None:
    pacs = old_pacs(*accepted, SECONDARY_CAPTURE)
    key = office.analysed(objects)
    deliverer(office, pacs.port).deliver(key, PACS)
    assert office.row(key).state is ImageState.DELIVERED, office.delivery(key).last_error
    report, capture = pacs.stored
    assert report.SOPClassUID == sent
    assert capture.SOPClassUID == SECONDARY_CAPTURE


def test_the_sites_order_of_report_classes_counts(office, old_pacs, objects) -> None:
    pacs = old_pacs(COMPREHENSIVE_3D, COMPREHENSIVE, SECONDARY_CAPTURE)
    key = office.analysed(objects)
    chosen = ["comprehensive", "comprehensive-3d"]
    deliverer(office, pacs.port, report_classes=chosen).deliver(key, PACS)
    assert pacs.stored[0].SOPClassUID == COMPREHENSIVE


def test_a_pacs_that_takes_no_report_at_all_is_told_of(office, old_pacs, objects) -> None:
    pacs = old_pacs(SECONDARY_CAPTURE)
    key = office.analysed(objects)
    deliverer(office, pacs.port).deliver(key, PACS)
    assert office.row(key).state is ImageState.FAILED
    assert "sr.dcm: the peer rejected its SOP class" in str(office.delivery(key).last_error)


def test_another_form_has_uids_of_its_own_and_is_the_same_in_each_attempt(
    office, old_pacs, objects
) -> None:
    uids = []
    for _ in range(2):
        pacs = old_pacs(COMPREHENSIVE, SECONDARY_CAPTURE)
        key = office.analysed(objects)
        deliverer(office, pacs.port).deliver(key, PACS)
        uids.append([each.SOPInstanceUID for each in pacs.stored])
    originals = [dcmread(io.BytesIO(each)).SOPInstanceUID for each in objects.values()]
    assert uids[0] == uids[1]
    assert not set(uids[0]) & set(originals)


def test_series_and_character_set_are_the_destinations(office, old_pacs, objects) -> None:
    pacs = old_pacs(COMPREHENSIVE_3D, SECONDARY_CAPTURE)
    key = office.analysed(objects)
    deliverer(
        office,
        pacs.port,
        character_set="gb18030",
        series_numbers={"sr": 42},
        series_descriptions={"sc": "AI picture"},
        overlay_modality="US",
    ).deliver(key, PACS)
    report, capture = pacs.stored
    assert (report.Modality, capture.Modality) == ("SR", "US")
    assert (report.SeriesNumber, capture.SeriesNumber) == (42, 9002)
    assert capture.SeriesDescription == "AI picture"
    assert {each.SpecificCharacterSet for each in pacs.stored} == {"GB18030"}
    assert {str(each.PatientName) for each in pacs.stored} == {"王^小红"}


def test_an_object_that_breaks_the_standard_is_never_sent(office, old_pacs, made_objects) -> None:
    pacs = old_pacs(COMPREHENSIVE, SECONDARY_CAPTURE)
    broken = made_objects()
    del broken["sr.dcm"].CompletionFlag
    key = office.analysed({name: part10_bytes(each) for name, each in broken.items()})
    deliverer(office, pacs.port).deliver(key, PACS)
    assert pacs.stored == []
    assert office.row(key).state is ImageState.FAILED
    assert "CompletionFlag: is missing" in str(office.delivery(key).last_error)
    assert office.metrics.registry.get_sample_value("secondread_invalid_objects_total") == 1


def test_stow_rs_stores_the_bytes_that_lie_in_the_spool(
    office, orthanc, objects, data_set_bytes, tmp_path: Path
) -> None:
    key = office.analysed(objects)
    settings = Settings.model_validate(
        {"destinations": [{"name": PACS, "url": f"{orthanc.url}/dicom-web"}]}
    )
    Deliverer(settings, office.spool, office.journal, office.metrics, office.trail).deliver(
        key, PACS
    )
    assert office.row(key).state is ImageState.DELIVERED, office.delivery(key).last_error
    for name, content in objects.items():
        uid = str(dcmread(io.BytesIO(content)).SOPInstanceUID)
        (instance,) = orthanc.find("Instance", SOPInstanceUID=uid)
        stored = tmp_path / name
        stored.write_bytes(orthanc.content(f"/instances/{instance['ID']}/file"))
        assert data_set_bytes(stored) == data_set_bytes(office.spool.results_folder(key) / name)


def test_a_secret_that_cannot_be_read_is_a_wrong_configuration(office, tmp_path: Path) -> None:
    destination = {
        "name": PACS,
        "url": "https://pacs.example.org/dicom-web",
        "authentication": {
            "type": "basic",
            "user": "us",
            "password_file": str(tmp_path / "missing"),
        },
    }
    settings = Settings.model_validate({"destinations": [destination]})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Deliverer(settings, office.spool, office.journal, office.metrics, office.trail)
