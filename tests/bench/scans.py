"""Images to send: a real one, as often as is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import generate_uid

from service.demo import packaged_ultrasound

_WIDTH, _HEIGHT = 1024, 768
_PALETTE = ("Red", "Green", "Blue")


class Scans:
    """The same real picture under new SOP Instance UIDs, so that each is an image of its own."""

    def __init__(self) -> None:
        source = next(path for path in packaged_ultrasound() if path.name == "examples_palette.dcm")
        self._data_set = pydicom.dcmread(source)

    def save(self, path: Path) -> Path:
        """The next one, written to ``path``."""
        return _save_anew(self._data_set, path)

    def study(self, folder: Path, images: int) -> Sequence[Path]:
        """A study of its own: the picture in grey, as uncompressed RGB of 1024×768, 2.4 MB."""
        data_set = _enlarged(self._data_set)
        data_set.StudyInstanceUID = generate_uid()
        return [_save_anew(data_set, folder / f"study-{number}.dcm") for number in range(images)]


def _save_anew(data_set: Dataset, path: Path) -> Path:
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data_set.save_as(path)
    return path


def _enlarged(source: Dataset) -> Dataset:
    colours = Image.fromarray((apply_color_lut(source.pixel_array, source) >> 8).astype("uint8"))
    grey = colours.convert("L").resize((_WIDTH, _WIDTH * source.Rows // source.Columns))
    picture = Image.new("RGB", (_WIDTH, _HEIGHT))
    picture.paste(grey.convert("RGB"))
    data_set = pydicom.dcmread(source.filename)
    for colour in _PALETTE:
        del data_set[f"{colour}PaletteColorLookupTableDescriptor"]
        del data_set[f"{colour}PaletteColorLookupTableData"]
    data_set.pop("SequenceOfUltrasoundRegions", None)
    data_set.UltrasoundColorDataPresent = 0
    data_set.Rows, data_set.Columns = _HEIGHT, _WIDTH
    data_set.SamplesPerPixel, data_set.PlanarConfiguration = 3, 0
    data_set.PhotometricInterpretation = "RGB"
    data_set.BitsAllocated = data_set.BitsStored = 8
    data_set.HighBit = 7
    data_set.PixelData = picture.tobytes()
    return data_set
