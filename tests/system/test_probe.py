"""The probe walks the whole road, reaches no PACS unless told so, and leaves nothing."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pydicom.data
import pytest

from service.journal.records import PROBE_AE_TITLE, ImageState
from service.scu import send_files

SECONDS = 60


@pytest.fixture
def probed(up: Any, small_model: Path, orthanc: Any, eventually: Any) -> Any:
    """``probed("probe.patience = 2")``: running, with a probe each half second."""

    def start(*extra: str) -> Any:
        service = up(
            small_model,
            destinations=[orthanc],
            extra=["probe.seconds = 0.5", *extra],
            quiet_seconds=1,
        )
        service.start()
        eventually(service.is_ready, SECONDS)
        return service

    return start


def passed(service: Any, outcome: str = "passed") -> float:
    return service.count("keeper", "secondread_probes_total", outcome=outcome)


def test_probes_pass_and_leave_nothing(probed: Any, orthanc: Any, eventually: Any) -> None:
    service = probed()
    eventually(lambda: passed(service) >= 3, SECONDS)
    assert orthanc.get("/instances") == []
    assert service.journal.images() == []
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(30) == 0
    # The last one may have been under way.
    assert len(list(service.spool.root.glob("images/*/*"))) <= 1
    assert sum(service.journal.counts().images.values()) <= 1
    assert service.journal.counts().studies == dict.fromkeys(service.journal.counts().studies, 0)


def test_it_is_no_scanner_and_its_scores_are_no_scores(probed: Any, eventually: Any) -> None:
    service = probed()
    eventually(lambda: passed(service) >= 1, SECONDS)
    assert PROBE_AE_TITLE not in service.metrics("ingest")
    assert service.count("analysis", "secondread_outcomes_total", state="analysed", reason="") == 0


def test_a_scanner_that_calls_itself_so_is_no_probe(
    probed: Any, orthanc: Any, eventually: Any
) -> None:
    service = probed()
    image = Path(pydicom.data.__file__).parent / "test_files" / "examples_palette.dcm"
    send_files([image], service.peer, PROBE_AE_TITLE)
    eventually(lambda: service.is_final(image), SECONDS)
    assert service.row(image).state is ImageState.DELIVERED
    eventually(lambda: len(orthanc.get("/instances")) >= 2, SECONDS)
    before = passed(service)
    eventually(lambda: passed(service) > before + 1, SECONDS)
    assert service.row(image) is not None, "it stays"


def test_a_destination_gets_it_only_when_told(probed: Any, orthanc: Any, eventually: Any) -> None:
    service = probed('probe.destinations = ["pacs-0"]')
    eventually(lambda: passed(service) >= 1, SECONDS)
    found = orthanc.find("Study", PatientID="SECONDREAD-PROBE")
    assert found
    assert found[0]["MainDicomTags"]["StudyDescription"].startswith("SYNTHETIC")


def test_a_road_that_is_closed_is_told(probed: Any, eventually: Any) -> None:
    service = probed("probe.patience = 1.5", "monitoring.silent_seconds = 600")
    eventually(lambda: passed(service) >= 1, SECONDS)
    service.signal("analysis", signal.SIGSTOP)
    eventually(lambda: passed(service, "late") >= 1, SECONDS)
    service.signal("analysis", signal.SIGCONT)
    before = passed(service)
    eventually(lambda: passed(service) > before, SECONDS)
    eventually(lambda: sum(service.journal.counts().images.values()) <= 1, SECONDS)


def test_so_is_an_ingest_that_lets_it_not_in(probed: Any, eventually: Any) -> None:
    service = probed('ingest.peers = [{ ae_title = "ROOM1", address = "127.0.0.1" }]')
    eventually(lambda: passed(service, "unreachable") >= 1, SECONDS)
