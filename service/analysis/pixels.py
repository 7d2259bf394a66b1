"""From a data set's Pixel Data to the picture a reader would see: ``(H, W, 3)`` uint8 RGB.

Runs in the decoding child process (``decode_child``), for what it reads comes from outside.
"""

from __future__ import annotations

import re
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset, read_preamble
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import get_nr_frames
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from service.analysis.decode_error import DecodeError
from service.analysis.palette import apply_palette
from service.sop_classes import TRANSFER_SYNTAXES

# One plugin a syntax, no fallback: the same file always gives the same picture, and a second
# plugin would turn the first one's "truncated" into a half-grey image.
_PLUGINS: dict[UID, str] = {
    RLELossless: "pydicom",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pillow",
    JPEG2000: "pillow",
}
_STANDARD_UID = re.compile(r"1\.2\.840\.10008\.[0-9.]{1,40}")

MOST_PIXELS = 1 << 26
"""Of one frame; the largest ultrasound frames have a thirtieth of it."""
MOST_INFLATED_BYTES = 1 << 29
"""Of a deflated data set."""


def number_of_frames(dataset: Dataset) -> int:
    """Number of Frames, 1 where it is absent or 0. Raises DecodeError where it is no count."""
    frames = get_nr_frames(dataset, warn=False)
    if frames < 1:
        raise DecodeError("undecodable", "The Number of Frames is no count.")
    return frames


def require_known_syntax(dataset: Dataset) -> None:
    """Raises DecodeError: unsupported-transfer-syntax."""
    syntax = UID(dataset.file_meta.get("TransferSyntaxUID", ""))
    if syntax not in TRANSFER_SYNTAXES:
        is_standard = _STANDARD_UID.fullmatch(syntax)
        name = f"transfer syntax {syntax}" if is_standard else "transfer syntax"
        raise DecodeError("unsupported-transfer-syntax", f"The {name} is not one that we decode.")


def require_moderate_inflation(path: Path) -> None:
    """A deflated data set is inflated as a whole, in the worker too: not without bounds.

    Raises DecodeError: too-large.
    """
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    with path.open("rb") as stream:
        read_preamble(stream, force=False)
        meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        while piece := stream.read(1 << 16):
            while piece:
                size += len(inflating.decompress(piece, 1 << 20))
                piece = inflating.unconsumed_tail
                if size > MOST_INFLATED_BYTES:
                    raise DecodeError("too-large", "The deflated data set is too large.")


def decode_frame(dataset: Dataset, number: int) -> NDArray[np.uint8]:
    """Decode frame ``number`` (1-based) to ``(Rows, Columns, 3)`` uint8 RGB.

    Colour: YBR becomes RGB, palettes are applied (see ``palette``).
    Grey: 8-bit values are shown as they are stored, as scanners mean them; deeper ones go through
    the header's first window, else their own minimum–maximum is stretched to 0–255. MONOCHROME1
    is inverted.

    Raises DecodeError: unsupported-transfer-syntax, no-pixels, too-large or undecodable. Whatever
    else a plugin raises means that the pixel data are broken.
    """
    require_known_syntax(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    if "PixelData" not in dataset or not dataset.PixelData:
        raise DecodeError("no-pixels", "The data set holds no pixel data.")
    if (dataset.get("Rows") or 0) * (dataset.get("Columns") or 0) > MOST_PIXELS:
        raise DecodeError("too-large", "The frame has more pixels than any that we analyse.")
    if not 1 <= number <= number_of_frames(dataset):
        raise DecodeError("undecodable", f"The image has no frame {number}.")
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        return _jpeg(dataset, number)
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        _refuse_open_end(_encapsulated(dataset, number))
    plugin = _PLUGINS.get(syntax, "")
    stored, properties = get_decoder(syntax).as_array(
        dataset, index=number - 1, decoding_plugin=plugin
    )
    match properties["photometric_interpretation"]:
        case "RGB":
            return _eight_bits(stored, dataset.BitsStored)
        case "PALETTE COLOR":
            return apply_palette(stored, dataset)
        case "MONOCHROME1" | "MONOCHROME2":
            return _grey(stored, dataset)
    raise DecodeError("undecodable", "The photometric interpretation is not one that we decode.")


def _encapsulated(dataset: Dataset, number: int) -> bytes:
    return get_frame(dataset.PixelData, number - 1, number_of_frames=number_of_frames(dataset))


def _refuse_open_end(frame: bytes) -> None:
    """GDCM fills a truncated lossless JPEG with grey instead of failing: look for the EOI marker.

    Raises DecodeError.
    """
    if not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise DecodeError("undecodable", "The pixel data are truncated.")


def _jpeg(dataset: Dataset, number: int) -> NDArray[np.uint8]:
    """Baseline and 8-bit extended JPEG; libjpeg knows from the markers whether it is YCbCr.

    Only without JFIF and Adobe markers and component names does the header's RGB decide (pydicom
    would convert an Adobe-marked stream a second time).
    """
    with JpegImageFile(BytesIO(_encapsulated(dataset, number))) as image:
        if image.size != (dataset.Columns, dataset.Rows):
            raise DecodeError("undecodable", "The JPEG stream has another size than the header.")
        if image.mode == "L":
            return _grey(np.asarray(image), dataset)
        named = [layer[0] for layer in image.layer] == list(b"RGB")
        marked = named or "jfif" in image.info or "adobe" in image.info
        if dataset.PhotometricInterpretation == "RGB" and not marked:
            image.draft("YCbCr", image.size)
            return np.asarray(image)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _grey(stored: NDArray[np.integer], dataset: Dataset) -> NDArray[np.uint8]:
    if dataset.BitsStored > 8 or stored.dtype.kind == "i":
        grey = _windowed(stored, dataset)
    else:
        grey = stored.astype(np.uint8)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.repeat(grey[..., None], 3, axis=2)


def _windowed(stored: NDArray[np.integer], dataset: Dataset) -> NDArray[np.uint8]:
    """The header's first window (linear, PS3.3 C.11.2.1.2.1), else the frame's minimum–maximum."""
    values = stored.astype(np.float64)
    values = values * float(dataset.get("RescaleSlope") or 1)
    values += float(dataset.get("RescaleIntercept") or 0)
    width, centre = _first(dataset.get("WindowWidth")), _first(dataset.get("WindowCenter"))
    if width > 1:
        lowest, highest = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    else:
        lowest, highest = float(values.min()), float(values.max())
    scaled = (values - lowest) / max(highest - lowest, 1e-9)
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 255), dtype=np.uint8)


def _first(value: object) -> float:
    """The first value of a decimal string of any multiplicity, 0 where there is none."""
    if value is None or value == "":
        return 0.0
    return float(value[0]) if isinstance(value, MultiValue) else float(str(value))


def _eight_bits(colour: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    return np.asarray(colour >> max(bits - 8, 0), dtype=np.uint8)
