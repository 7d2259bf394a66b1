"""The Ingest AE as it runs, a peer that records what is proposed to it, and an image to send."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode, encode_file_meta

from dicom_sr.part10 import file_meta
from service.association import Acceptor
from service.audit.trail import AuditTrail
from service.config import Settings
from service.ingest.commitment import CommitmentScp
from service.ingest.scp import StorageScp
from service.ingest.settings import IngestSettings
from service.journal.journal import Journal
from service.monitoring.metrics import Metrics
from service.scu import Peer, send_files
from service.spool import Spool

VERIFICATION = "1.2.840.10008.1.1"


class _Journal(Journal):
    """The real journal; where ``broken`` is set it has a fault that nobody has thought of."""

    broken = False

    def record_received(self, image):
        if self.broken:
            raise ZeroDivisionError
        return super().record_received(image)


class RunningIngest:
    """The Ingest AE with its real spool and journal."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.journal = _Journal(f"sqlite:///{folder / 'journal.sqlite3'}")
        self.journal.migrate()
        values = IngestSettings.model_validate({"low_water_bytes": 0, **settings})
        # Not given as a setting, for there it cannot be "any free one".
        values = values.model_copy(update={"port": 0})
        self.spool, self.metrics = Spool(folder / "spool"), Metrics()
        commitment = CommitmentScp(Settings(ingest=values), self.spool, self.journal, self.metrics)
        self.trail = AuditTrail(folder / "audit", self.metrics)
        self.scp = StorageScp(
            values, self.spool, self.journal, _ignore, self.metrics, commitment, self.trail
        )
        self.scp.start()

    def statuses(self, *files: Path) -> list[int | None]:
        """Of C-STORE."""
        peer = Peer("127.0.0.1", self.scp.port, "SECONDREAD")
        return [outcome.status for outcome in send_files(files, peer, "SCANNER")]

    def close(self) -> None:
        self.scp.stop(drain=0)
        self.journal.close()


def _ignore(key: str) -> None:
    pass


class RecordingPeer:
    """A storage SCP that accepts everything and keeps what was proposed to it."""

    def __init__(self) -> None:
        self.requests: list[evt.Event] = []
        ae = AE("PACS")
        for uid, (_, kind, *_) in UID_dictionary.items():
            if kind == "SOP Class" and ".5.1.4.1.1." in uid:
                ae.add_supported_context(uid)
        ae.add_supported_context(VERIFICATION)
        handlers = [(evt.EVT_REQUESTED, self.requests.append), (evt.EVT_C_ECHO, lambda event: 0)]
        self._acceptor = Acceptor(ae, "127.0.0.1", 0, handlers)
        self._acceptor.start()

    @property
    def port(self) -> int:
        return self._acceptor.port

    def proposed(self) -> set[tuple[str, str]]:
        (request,) = self.requests
        return {
            (str(context.abstract_syntax), ", ".join(map(str, context.transfer_syntax)))
            for context in request.assoc.requestor.requested_contexts
        }

    def close(self) -> None:
        self._acceptor.stop()


def image(path: Path, **elements: str) -> Path:
    """A little ultrasound image, whose file meta information does not know of ``elements``."""
    data_set = Dataset()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    data_set.SOPInstanceUID = "1.2.3"
    meta = file_meta(data_set)
    for keyword, value in elements.items():
        setattr(data_set, keyword, value)
    encoded = encode(data_set, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    path.write_bytes(b"\0" * 128 + b"DICM" + encode_file_meta(meta) + encoded)
    return path
