"""Whatever is killed, and whenever: each image gets its results, and gets them once."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from contextlib import closing, contextmanager

import pytest
from pydicom import dcmread
from pynetdicom import evt

from service.journal.records import DeliveryState, ImageState, Stage
from service.queue.broker import Broker
from service.scu import send_files
from service.storage_scp import LocalArchive

SECONDS = 120
BREAST = "breast/uta7_Anonymized3_US000000.dcm"
CINE = "other/pydicom__examples_ybr_color.dcm"
IMPATIENT = (
    "keeper.interval = 0.5",
    "keeper.lease = 2",
    "keeper.publish_grace = 2",
    "retry.first_seconds = 0.5",
    "retry.longest_seconds = 2",
    "analysis.frame_stride = 1",
    "analysis.threads = 1",
)
"""A cine then takes seconds, and what is lost comes back in seconds."""


class CountingArchive(LocalArchive):
    """Knows how often each SOP Instance UID came."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.stored: Counter[str] = Counter()

    def store(self, event: evt.Event) -> int:
        self.stored[str(event.request.AffectedSOPInstanceUID)] += 1
        return super().store(event)


@pytest.fixture
def archive(tmp_path):
    archive = CountingArchive(tmp_path / "archive")
    archive.start()
    yield archive
    archive.stop()


class EmbeddedBroker:
    """The one of ``secondread up``, which starts it again."""

    def __init__(self, service) -> None:
        self._service = service
        self.url = f"redis://127.0.0.1:{service.ports['broker']}/0"

    @contextmanager
    def killed(self, *, emptied: bool):
        if emptied:
            shutil.rmtree(self._service.data_dir / "broker" / "appendonlydir")
        self._service.signal("valkey-server", signal.SIGKILL)
        yield


class ExternalBroker:
    """Debian's redis-server; inside the block it is down."""

    def __init__(self, server, folder) -> None:
        self._server = server
        self._folder = folder
        self.url = server.url

    @contextmanager
    def killed(self, *, emptied: bool):
        self._server.kill()
        if emptied:
            shutil.rmtree(self._folder / "appendonlydir")
        yield
        self._server.start()


@pytest.fixture
def start(up, reference_model, archive, shared_orthanc, eventually):
    """``start(*extra)``: the service, delivering to Orthanc and to an archive that counts."""

    def start(*extra: str):
        service = up(
            reference_model, destinations=[shared_orthanc, archive], extra=(*IMPATIENT, *extra)
        )
        service.start()
        eventually(service.is_ready, SECONDS)
        return service

    return start


@pytest.fixture(params=["embedded", "redis-server"])
def service_and_broker(request, start, tmp_path):
    if request.param == "embedded":
        service = start()
        return service, EmbeddedBroker(service)
    redis_server = request.getfixturevalue("redis_server")
    service = start(f'broker.url = "{redis_server.url}"')
    return service, ExternalBroker(redis_server, tmp_path / "redis")


@pytest.fixture
def send(eventually):
    """``send(service, *paths)`` as a scanner that is answered Success for each."""

    def send(service, *paths) -> None:
        outcomes = send_files(paths, service.peer, "SCANNER")
        assert [outcome.text for outcome in outcomes] == ["stored (0x0000)"] * len(paths)

    return send


@pytest.fixture
def came_once(results_of, shared_orthanc, archive, eventually):
    """``came_once(service, *paths)``: each image ends, and both PACS have its SC and its SR.

    Returns how often the second PACS was sent each object.
    """

    def check(service, *paths) -> Counter[str]:
        eventually(lambda: service.is_final(*paths), SECONDS)
        uids = set()
        for path in paths:
            assert service.row(path).state is ImageState.DELIVERED
            results = results_of(shared_orthanc, path)
            assert [result.Modality for result in results] == ["OT", "SR"]
            uids |= {result.SOPInstanceUID for result in results}
        assert archive.stored.keys() == uids
        assert {dcmread(path).SOPInstanceUID for path in archive.files()} == uids
        return archive.stored

    return check


def is_analysed_now(service, path) -> bool:
    row = service.row(path)
    return row is not None and row.state is ImageState.RECEIVED and row.attempts == 1


def test_worker_killed_during_inference(
    service_and_broker, us_dicom, copy_of, send, came_once, eventually
) -> None:
    service, _ = service_and_broker
    cine = copy_of(us_dicom / CINE)
    send(service, cine)
    eventually(lambda: is_analysed_now(service, cine))
    victims = service.descendants("analysis")
    assert len(victims) > 1, "the decoder is one of them"
    service.signal("analysis", signal.SIGKILL)
    assert is_analysed_now(service, cine)
    sent = came_once(service, cine)
    assert service.row(cine).attempts == 2
    assert set(sent.values()) == {1}


@pytest.mark.parametrize("emptied", [False, True], ids=["kept", "emptied"])
def test_broker_killed_between_receive_and_analysis(
    service_and_broker, emptied, us_dicom, copy_of, send, came_once, eventually
) -> None:
    service, broker = service_and_broker
    images = [copy_of(us_dicom / BREAST) for _ in range(4)]
    service.signal("analysis", signal.SIGSTOP)
    send(service, *images[:3])
    # Ingest publishes in its own time, and one message is on its way to the worker.
    with closing(Broker(broker.url)) as asked:
        eventually(lambda: asked.queue_length(Stage.ANALYSIS) >= 2)
    with broker.killed(emptied=emptied):
        send(service, images[3])
    assert [service.row(path).attempts for path in images] == [0] * 4
    service.signal("analysis", signal.SIGCONT)
    sent = came_once(service, *images)
    assert set(sent.values()) == {1}
    if emptied:
        assert service.count("keeper", "secondread_republished_total", stage="analysis") >= 1


def test_scp_killed_right_after_success(start, us_dicom, copy_of, send, came_once) -> None:
    service = start()
    image = copy_of(us_dicom / BREAST)
    victim = service.children()["ingest"]
    (outcome,) = send_files(
        [image], service.peer, "SCANNER", lambda _: os.kill(victim, signal.SIGKILL)
    )
    assert outcome.text == "stored (0x0000)"
    assert set(came_once(service, image).values()) == {1}
    assert service.row(image).duplicates == 0


def test_pacs_down_during_delivery(
    up, reference_model, orthanc, us_dicom, copy_of, send, results_of, eventually
) -> None:
    orthanc.stop()
    service = up(reference_model, destinations=[orthanc], extra=IMPATIENT)
    service.start()
    eventually(service.is_ready, SECONDS)
    image = copy_of(us_dicom / BREAST)
    send(service, image)

    def was_tried_again() -> bool:
        row = service.row(image)
        return bool(row and row.deliveries and row.deliveries[0].attempts > 1)

    eventually(was_tried_again, SECONDS)
    row = service.row(image)
    (delivery,) = row.deliveries
    assert (row.state, delivery.state) == (ImageState.ANALYSED, DeliveryState.PENDING)
    assert "is it running?" in delivery.last_error
    orthanc.start()
    eventually(lambda: service.is_final(image), SECONDS)
    assert service.row(image).state is ImageState.DELIVERED
    assert [result.Modality for result in results_of(orthanc, image)] == ["OT", "SR"]


def test_everything_killed_in_mid_work(
    start, us_dicom, copy_of, send, came_once, eventually
) -> None:
    service = start()
    images = [copy_of(us_dicom / name) for name in (BREAST, CINE, BREAST, BREAST)]
    send(service, *images)
    eventually(lambda: is_analysed_now(service, images[1]))
    pids = service.descendants()
    service.kill()
    eventually(lambda: not service.alive(pids), 10)
    assert [service.row(path).state for path in images[1:]] == [ImageState.RECEIVED] * 3
    service.start()
    eventually(service.is_ready, SECONDS)
    came_once(service, *images)
