"""A storage SCP with its real spool and journal, and images that try it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dsutils import encode, encode_file_meta

from service.audit.trail import AuditTrail
from service.config import Settings
from service.ingest.commitment import CommitmentScp
from service.ingest.scp import StorageScp
from service.ingest.settings import IngestSettings
from service.journal.journal import Journal
from service.journal.records import ImageRow
from service.monitoring.metrics import Metrics
from service.scu import Peer
from service.spool import Spool
from tests.ingest.wire import EXPLICIT_LE, ULTRASOUND

ANY_FREE_PORT = {"port": 0}


@dataclass
class Ingest:
    """What a test looks at: the running SCP and everything that it writes to."""

    scp: StorageScp
    spool: Spool
    journal: Journal
    metrics: Metrics
    published: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.scp.port

    @property
    def peer(self) -> Peer:
        return Peer("127.0.0.1", self.scp.port, "SECONDREAD")

    def rows(self) -> list[ImageRow]:
        return self.journal.images()

    def count(self, outcome: str) -> float:
        """The metric ``secondread_received_total``."""
        value = self.metrics.registry.get_sample_value(
            "secondread_received_total", {"outcome": outcome}
        )
        return value or 0.0

    def incoming(self) -> list[Path]:
        return list(self.spool.incoming.iterdir())

    def images(self) -> list[Path]:
        return sorted((self.spool.root / "images").rglob("*.dcm"))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(f"sqlite:///{tmp_path / 'journal.sqlite3'}")
    journal.migrate()
    yield journal
    journal.close()


@pytest.fixture
def start_ingest(tmp_path: Path, journal: Journal) -> Iterator[Callable[..., Ingest]]:
    """``start_ingest(publish=…, journal=…, spool=…, **ingest_settings)`` on a free port."""
    running: list[StorageScp] = []

    def start(
        publish: Callable[[str], None] | None = None,
        journal: Journal = journal,
        spool: Spool | None = None,
        **settings: object,
    ) -> Ingest:
        published: list[str] = []
        spool, metrics = spool or Spool(tmp_path / "spool"), Metrics()
        values = IngestSettings.model_validate({"low_water_bytes": 0, **settings})
        scp = StorageScp(
            values.model_copy(update=ANY_FREE_PORT),
            spool,
            journal,
            publish or published.append,
            metrics,
            CommitmentScp(Settings(ingest=values), spool, journal, metrics),
            AuditTrail(tmp_path / "audit", metrics),
        )
        scp.start()
        running.append(scp)
        return Ingest(scp, spool, journal, metrics, published)

    yield start
    for scp in running:
        scp.stop(drain=0)


@pytest.fixture
def ingest(start_ingest: Callable[..., Ingest]) -> Ingest:
    """The SCP with its default settings."""
    return start_ingest()


@pytest.fixture
def associate() -> Iterator[Callable[[int], Association]]:
    """``associate(port)``: a scanner that keeps its association open until the test's end."""
    opened: list[Association] = []

    def open_association(port: int) -> Association:
        ae = AE("SCANNER")
        ae.add_requested_context("1.2.840.10008.1.1")
        ae.add_requested_context("1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.1.2.1")
        association = ae.associate("127.0.0.1", port)
        opened.append(association)
        return association

    yield open_association
    for association in opened:
        association.release()


@pytest.fixture
def open_connection() -> Iterator[Callable[[int], socket.socket]]:
    """``open_connection(port)``: the socket of an established association; context ID 1."""
    opened: list[Association] = []

    def open_association(port: int) -> socket.socket:
        ae = AE("SCANNER")
        ae.add_requested_context(ULTRASOUND, EXPLICIT_LE)
        association = ae.associate("127.0.0.1", port)
        assert association.is_established
        association.dul.kill_dul()
        association.dul.join(5)
        opened.append(association)
        provider = association.dul.socket
        assert provider is not None
        assert provider.socket is not None
        return provider.socket

    yield open_association
    for association in opened:
        association.kill()


@pytest.fixture
def small_image(tmp_path: Path) -> Callable[..., Path]:
    """``small_image(sop_class=…, **elements)``: a valid little US image with elements changed.

    An element that is None is left out; file meta keeps what the sender's command will say.
    """

    def make(sop_class: str = "1.2.840.10008.5.1.4.1.1.6.1", **elements: object) -> Path:
        image = Dataset()
        image.SOPClassUID = sop_class
        image.SOPInstanceUID = generate_uid()
        image.PatientID = "1"
        image.StudyInstanceUID = generate_uid()
        image.SeriesInstanceUID = generate_uid()
        image.Modality = "US"
        image.Rows = image.Columns = 2
        image.SamplesPerPixel = 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 8
        image.HighBit = 7
        image.PixelRepresentation = 0
        image.PixelData = b"\0\1\2\3"
        image.ensure_file_meta()
        image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        image.file_meta.MediaStorageSOPClassUID = sop_class
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        for keyword, value in elements.items():
            if value is None:
                del image[keyword]
            else:
                setattr(image, keyword, value)
        # Part by part, for pydicom would make file meta information and data set agree.
        data_set = encode(image, is_implicit_vr=False, is_little_endian=True)
        assert data_set is not None
        path = tmp_path / f"{image.file_meta.MediaStorageSOPInstanceUID}.dcm"
        path.write_bytes(b"\0" * 128 + b"DICM" + encode_file_meta(image.file_meta) + data_set)
        return path

    return make
