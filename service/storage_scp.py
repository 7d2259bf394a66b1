"""A small DICOM archive on a folder: the PACS of the demo and of the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from service.association import Acceptor
from service.sop_classes import ANALYSED, IGNORED
from service.spool import sync_folder, write_durably

_UID = re.compile(r"[0-9.]{1,64}")


class LocalArchive:
    """Storage SCP that keeps each object as ``<SOPInstanceUID>.dcm``, byte for byte as it came.

    It accepts what the service receives or sends, in every transfer syntax, from anyone. A file
    appears under its name when it is complete; the same SOP Instance UID again replaces it.
    """

    def __init__(
        self, folder: Path, ae_title: str = "ARCHIVE", host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.folder = folder
        self.ae_title = ae_title
        self.host = host
        ae = AE(ae_title)
        # No more than these: pynetdicom copies all contexts for each association.
        for sop_class in sorted(ANALYSED | IGNORED):
            ae.add_supported_context(sop_class, ALL_TRANSFER_SYNTAXES)
        ae.add_supported_context(Verification)
        ae.maximum_pdu_size = 131072
        handlers = [(evt.EVT_C_STORE, self.store), (evt.EVT_C_ECHO, lambda event: 0x0000)]
        self._acceptor = Acceptor(ae, host, port, handlers)

    def start(self) -> None:
        """Make the folder and listen. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._acceptor.start()

    def stop(self, drain: float = 0.0) -> None:
        """Stop listening; open associations may finish for ``drain`` seconds."""
        self._acceptor.stop(drain)

    @property
    def port(self) -> int:
        return self._acceptor.port

    def files(self) -> list[Path]:
        """The stored objects."""
        return sorted(self.folder.glob("*.dcm"))

    def find(self, sop_instance_uid: str) -> Path | None:
        """The file of an object, None if it is not stored."""
        path = self.folder / f"{sop_instance_uid}.dcm"
        return path if path.is_file() else None

    def store(self, event: evt.Event) -> int:
        """Handler of EVT_C_STORE; returns the C-STORE status."""
        uid = str(cast(C_STORE, event.request).AffectedSOPInstanceUID)
        if _UID.fullmatch(uid) is None:
            return 0xC000
        try:
            write_durably(self.folder / f"{uid}.dcm", event.encoded_dataset())
            sync_folder(self.folder)
        except OSError:
            return 0xA700
        return 0x0000
