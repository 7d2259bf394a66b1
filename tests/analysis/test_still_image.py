"""PNG, JPEG, BMP and TIFF become valid Ultrasound Image objects."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import UltrasoundImageStorage

from service.still_image import UnreadableImage, read_dicom_or_wrap, wrap_still_image

GREY = np.arange(64 * 50, dtype=np.uint32).reshape(50, 64) % 251
GREY = GREY.astype(np.uint8)
COLOUR = np.stack([GREY, np.roll(GREY, 7, axis=1), 255 - GREY], axis=2)


def picture(folder: Path, pixels: np.ndarray | Image.Image, name: str = "a.png") -> Path:
    path = folder / name
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff"])
def test_grey_pixels_stay_as_they_are(suffix: str, tmp_path: Path) -> None:
    dataset = wrap_still_image(picture(tmp_path, GREY, f"a.{suffix}"))
    assert dataset.SOPClassUID == UltrasoundImageStorage
    assert dataset.PhotometricInterpretation == "MONOCHROME2"
    assert np.array_equal(dataset.pixel_array, GREY)
    assert dataset.LossyImageCompression == "00"


def test_colour_becomes_rgb(tmp_path: Path) -> None:
    dataset = wrap_still_image(picture(tmp_path, COLOUR))
    assert dataset.PhotometricInterpretation == "RGB"
    assert np.array_equal(dataset.pixel_array, COLOUR)


def test_grey_in_three_channels_becomes_monochrome(tmp_path: Path) -> None:
    dataset = wrap_still_image(picture(tmp_path, np.repeat(GREY[..., None], 3, axis=2)))
    assert dataset.PhotometricInterpretation == "MONOCHROME2"
    assert np.array_equal(dataset.pixel_array, GREY)


def test_jpeg_is_marked_as_lossy(tmp_path: Path) -> None:
    dataset = wrap_still_image(picture(tmp_path, GREY, "a.jpeg"))
    assert dataset.LossyImageCompression == "01"
    assert dataset.LossyImageCompressionMethod == "ISO_10918_1"
    with Image.open(tmp_path / "a.jpeg") as image:
        assert np.array_equal(dataset.pixel_array, np.asarray(image))


def test_16_bit_grey_is_scaled(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 257
    dataset = wrap_still_image(picture(tmp_path, deep))
    assert np.array_equal(dataset.pixel_array, GREY)


def test_transparency_lies_on_black(tmp_path: Path) -> None:
    transparent = np.dstack([COLOUR, np.zeros_like(GREY)])
    transparent[:, 32:, 3] = 255
    pixels = wrap_still_image(picture(tmp_path, transparent)).pixel_array
    assert not pixels[:, :32].any()
    assert np.array_equal(pixels[:, 32:], COLOUR[:, 32:])


def test_a_palette_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(GREY).convert("P")
    image.putpalette([(255 - value) for value in range(256) for _ in range(3)])
    dataset = wrap_still_image(picture(tmp_path, image))
    assert np.array_equal(dataset.pixel_array, 255 - GREY)


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path, exif=exif)
    assert np.array_equal(wrap_still_image(path).pixel_array, np.rot90(GREY, -1))


def test_the_uids_come_from_the_content(tmp_path: Path) -> None:
    one = wrap_still_image(picture(tmp_path, GREY, "one.png"))
    same = wrap_still_image(picture(tmp_path, GREY, "two.png"))
    other = wrap_still_image(picture(tmp_path, COLOUR, "three.png"))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert one[keyword] == same[keyword]
        assert one[keyword] != other[keyword]


def test_nothing_is_guessed_about_the_patient(tmp_path: Path) -> None:
    dataset = wrap_still_image(picture(tmp_path, GREY, "Doe^Jane.png"))
    assert "Doe" not in str(dataset)
    assert dataset.PatientName == ""
    assert dataset.PatientID == ""


@pytest.mark.parametrize(
    ("pixels", "name"), [(GREY, "a.png"), (COLOUR, "a.png"), (COLOUR, "a.jpg")]
)
def test_dciodvfy_finds_no_error(pixels: np.ndarray, name: str, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (make test installs it)")
    path = tmp_path / "wrapped.dcm"
    wrap_still_image(picture(tmp_path, pixels, name)).save_as(path, enforce_file_format=True)
    check = subprocess.run(["dciodvfy", path], capture_output=True, text=True, timeout=60)
    assert "USImage" in check.stderr
    assert [line for line in check.stderr.splitlines() if line.startswith("Error")] == []


def test_dicom_is_read_as_it_is(us_dicom: Path) -> None:
    path = us_dicom / "breast/uta4_p1_d045f565_IM128.dcm"
    assert read_dicom_or_wrap(path) == dcmread(path)


def test_the_content_decides_and_not_the_name(tmp_path: Path, tissue: Dataset) -> None:
    Image.fromarray(GREY).save(tmp_path / "picture.dcm", "PNG")
    assert np.array_equal(read_dicom_or_wrap(tmp_path / "picture.dcm").pixel_array, GREY)
    tissue.save_as(tmp_path / "dicom.png", enforce_file_format=True)
    assert read_dicom_or_wrap(tmp_path / "dicom.png").SOPInstanceUID == tissue.SOPInstanceUID


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"GIF89a"])
def test_what_is_neither_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"a\.png"):
        read_dicom_or_wrap(path)


def test_a_truncated_picture_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)
    path = picture(tmp_path, noise)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(UnreadableImage):
        wrap_still_image(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="No such file"):
        read_dicom_or_wrap(tmp_path / "none.png")
