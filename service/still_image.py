"""PNG, JPEG, BMP and TIFF as Ultrasound Image Storage, so that one road serves all files."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, UltrasoundImageStorage

from dicom_sr.part10 import file_meta

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
"""Of files that are pictures by their names."""

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_NAMESPACE = UUID("0f6d5a52-3c1e-5d0b-8a71-6b1f4e2c9d83")
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
    *("Manufacturer", "Laterality", "PatientOrientation"),
)


class UnreadableImage(Exception):
    """The file is neither DICOM Part 10 nor a picture that can be wrapped; the text says why."""


def read_dicom_or_wrap(path: Path) -> Dataset:
    """A DICOM Part 10 file as it is, or a picture wrapped as a US Image.

    What the file is decides its content, not its name. The result has file meta information and
    can be saved or sent. Raises UnreadableImage.
    """
    try:
        return dcmread(path)
    except InvalidDicomError:
        return wrap_still_image(path)
    except OSError as error:
        raise UnreadableImage(f"{path.name} cannot be read: {error.strerror}") from error
    except Exception as error:
        raise UnreadableImage(f"{path.name} is DICOM, but cannot be parsed") from error


def wrap_still_image(path: Path) -> Dataset:
    """A picture as a US Image data set (PS3.3 A.6) with file meta information.

    Grey becomes MONOCHROME2, colour RGB, 8 bits each; transparency lies on black, 16-bit grey is
    scaled, the EXIF orientation is applied, of several pages the first is taken. The UIDs come from
    the file's content: the same picture is always the same study. The patient is empty, for
    a picture does not say who it shows.

    Raises UnreadableImage.
    """
    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            lossy = image.format == "JPEG"
            pixels = _pixels(ImageOps.exif_transpose(image))
    except OSError as error:
        # Pillow's own errors are OSError too: no such format, truncated file.
        reason = error.strerror or "it is neither DICOM nor a whole PNG, JPEG, BMP or TIFF picture"
        raise UnreadableImage(f"{path.name} cannot be read: {reason}") from error
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{path.name} is a picture, but broken or too large") from error
    dataset = wrap_pixels(pixels, hashlib.sha256(content).hexdigest())
    dataset.LossyImageCompression = "01" if lossy else "00"
    if lossy:
        dataset.LossyImageCompressionRatio = f"{pixels.nbytes / len(content):.3f}"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
    return dataset


def wrap_pixels(pixels: NDArray[np.uint8], identity: str) -> Dataset:
    """``(H, W)`` grey or ``(H, W, 3)`` RGB uint8 as a US Image without a patient.

    identity: what the UIDs are made from.
    Raises ValueError if an edge is longer than 65535, which DICOM cannot say.
    """
    rows, columns = pixels.shape[:2]
    if max(rows, columns) > 0xFFFF:
        raise ValueError(f"{columns} × {rows} pixels are more than DICOM can hold")
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.SOPClassUID = UltrasoundImageStorage
    dataset.SOPInstanceUID = _uid(identity, "instance")
    dataset.StudyInstanceUID = _uid(identity, "study")
    dataset.SeriesInstanceUID = _uid(identity, "series")
    dataset.Modality = "US"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    for keyword in _EMPTY:
        setattr(dataset, keyword, "")
    colour = pixels.ndim == 3
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    content = pixels.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = file_meta(dataset)
    return dataset


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64)
        highest = max(float(deep.max()), 65535.0 if image.mode.startswith("I") else 1.0)
        return np.asarray(np.rint(np.clip(deep / highest, 0, 1) * 255), dtype=np.uint8)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if "A" in image.mode or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
    colour = np.asarray(image.convert("RGB"))
    if (colour == colour[..., :1]).all():
        return np.ascontiguousarray(colour[..., 0])
    return colour


def _uid(identity: str, kind: str) -> UID:
    return UID(f"2.25.{uuid5(_NAMESPACE, f'{identity}|{kind}').int}")
