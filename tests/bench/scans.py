"""Images to send: a real one, as often as is wanted."""

from __future__ import annotations

from pathlib import Path

import pydicom

from service.demo import packaged_ultrasound


class Scans:
    """The same real picture under new SOP Instance UIDs, so that each is an image of its own."""

    def __init__(self) -> None:
        source = next(path for path in packaged_ultrasound() if path.name == "examples_palette.dcm")
        self._data_set = pydicom.dcmread(source)

    def save(self, path: Path) -> Path:
        """The next one, written to ``path``."""
        self._data_set.SOPInstanceUID = pydicom.uid.generate_uid()
        self._data_set.file_meta.MediaStorageSOPInstanceUID = self._data_set.SOPInstanceUID
        self._data_set.save_as(path)
        return path
