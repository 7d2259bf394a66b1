"""A file from outside to the grey picture that the service would score, by the service's code."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from dicom_sr.finding import Box, NotAnalysed
from dicom_sr.source import ReportError, header_text, read_source
from model_export.preparation.clinical_values import Label
from model_export.preparation.labelme import Annotation, lesions_within, rasterise
from service.analysis.decode import Decoder
from service.analysis.decode_error import DecodeError
from service.analysis.pixels import require_known_syntax
from service.analysis.preprocessing import luminance
from service.analysis.screening import screen_frame, screen_header
from service.offline import as_part10
from service.still_image import UnreadableImage


@dataclass(frozen=True)
class Frame:
    """One frame that the service would analyse.

    pixels: ``(H, W, 3)`` uint8 RGB. boxes: what it would score; two for a dual view.
    device: model name of the header, else its manufacturer, else "".
    """

    pixels: NDArray[np.uint8]
    boxes: tuple[Box, ...]
    device: str


@dataclass(frozen=True)
class Picture:
    """What is trained on.

    pixels: ``(H, W)`` uint8 luminance of the box, which is what ``preprocess`` makes of it first.
    annotation: the outlines in pixels of the crop, None without any.
    """

    pixels: NDArray[np.uint8]
    annotation: Annotation | None
    device: str

    def digest(self) -> bytes:
        """The same for the same pixels in the same shape."""
        return hashlib.sha256(str(self.pixels.shape).encode() + self.pixels.tobytes()).digest()


def sop_instance_uid(decoder: Decoder, file: Path) -> str:
    """Of a DICOM file; "" for everything else, and for what cannot be parsed within limits."""
    try:
        decoder.number_of_frames(file)
        return header_text(dcmread(file, stop_before_pixels=True), "SOPInstanceUID")
    except DecodeError:
        return ""


def read_frame(
    decoder: Decoder, file: Path, number: int, coloured_share: float
) -> Frame | NotAnalysed:
    """Decode and screen one frame, in the order of ``service.analysis.analyser``.

    number: 1-based. coloured_share: see ``AnalysisSettings``.
    Returns the service's own refusal, or ``no-such-frame``.
    """
    with tempfile.TemporaryDirectory(prefix="secondread-") as folder:
        try:
            part10 = as_part10(file, Path(folder))
            # The child comes first: a file that cannot be parsed within limits is left there.
            frames = decoder.number_of_frames(part10)
            header = dcmread(part10, stop_before_pixels=True)
            read_source(header)
            require_known_syntax(header)
            refusal = screen_header(header)
            if refusal is None:
                if number > max(frames, 1):
                    return NotAnalysed("no-such-frame", "The image has fewer frames.")
                pixels = decoder.frame(part10, number)
                screened = screen_frame(header, pixels, coloured_share)
        except DecodeError as error:
            return NotAnalysed(error.code, error.text)
        except ReportError:
            return NotAnalysed("incomplete-header", "The header lacks a UID.")
        except UnreadableImage:
            return NotAnalysed("unreadable", "The file is neither DICOM nor a whole picture.")
    if refusal is not None:
        return refusal
    if isinstance(screened, NotAnalysed):
        return screened
    return Frame(pixels, screened.boxes, _device(header))


def crop(frame: Frame, annotation: Annotation | None, label: Label) -> Picture | str:
    """The picture in which the lesion lies, or the reason why that cannot be told.

    annotation: in pixels of the frame. label: of the lesion that the clinical table means; the
    outline with this label says which of two pictures holds it.
    """
    if annotation is not None and (annotation.height, annotation.width) != frame.pixels.shape[:2]:
        return "outline-of-another-size"
    outlined = annotation is not None and any(shape.lesion for shape in annotation.shapes)
    if annotation is None or not outlined:
        if len(frame.boxes) > 1:
            return "two-pictures-no-outline"
        return _picture(frame, frame.boxes[0], annotation)
    if not annotation.polygons(label):
        return "outline-of-other-label"
    mask = rasterise(annotation, label)
    box = max(frame.boxes, key=lambda box: _inside(mask, box).sum(dtype=np.int64))
    if not _inside(mask, box).any():
        return "outline-outside-picture"
    return _picture(frame, box, annotation)


def _picture(frame: Frame, box: Box, annotation: Annotation | None) -> Picture:
    return Picture(
        pixels=luminance(_inside(frame.pixels, box)),
        annotation=None if annotation is None else lesions_within(annotation, box),
        device=frame.device,
    )


def _inside(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    return pixels[box.top : box.bottom, box.left : box.right]


def _device(header: Dataset) -> str:
    return header_text(header, "ManufacturerModelName") or header_text(header, "Manufacturer")
