"""The decoder: every transfer syntax, right colours, and a reason for what cannot be decoded."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from service.analysis.decode import Decoder
from service.analysis.decode_error import DecodeError
from service.analysis.pixels import decode_frame
from service.still_image import wrap_pixels

Saved = Callable[..., Path]

PICTURES_OF = {
    # The same picture in two encodings.
    "pydicom-data__US1_J2KI.dcm": "pydicom-data__US1_UNCI.dcm",  # YBR_ICT and RGB
    "dcm4che__jpeg-ls-Palette.dcm": "dcm4che__US-PAL-8-10x-echo.dcm",  # JPEG-LS and RLE
    # Big endian and RLE, with palettes of 16-bit entries.
    "pydicom-data__OBXXXX1A_expb.dcm": "pydicom-data__OBXXXX1A_rle_2frame.dcm",
}


def refusal(decoder: Decoder, path: Path, number: int = 1) -> str:
    """The code with which a frame is refused."""
    with pytest.raises(DecodeError) as caught:
        decoder.frame(path, number)
    return caught.value.code


@pytest.fixture
def picture() -> np.ndarray:
    """``(48, 64, 3)`` uint8: red, green and blue stripes and a grey ramp."""
    stripes = np.zeros((48, 64, 3), dtype=np.uint8)
    for channel in range(3):
        stripes[:, 16 * channel : 16 * (channel + 1), channel] = 200
    stripes[:, 48:] = np.linspace(0, 255, 48, dtype=np.uint8)[:, None, None]
    return stripes


@pytest.mark.parametrize("name", PICTURES_OF)
def test_two_encodings_give_the_same_picture(name: str, us_dicom: Path, decoder: Decoder) -> None:
    other = us_dicom / "other"
    one, two = decoder.frame(other / name, 1), decoder.frame(other / PICTURES_OF[name], 1)
    assert one.max() > 200
    assert np.array_equal(one, two)


@pytest.mark.parametrize(
    "syntax",
    [
        *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian),
        *(DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless),
    ],
    ids=lambda syntax: syntax.keyword,
)
def test_lossless_syntaxes_give_the_pixels_back(
    syntax: UID, picture: np.ndarray, decoder: Decoder, saved: Saved
) -> None:
    dataset = wrap_pixels(picture, "stripes")
    if syntax == JPEG2000Lossless:
        stream = BytesIO()
        Image.fromarray(picture).save(stream, "JPEG2000", no_jp2=True, irreversible=False, mct=1)
        dataset.PixelData = encapsulate([stream.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.PhotometricInterpretation = "YBR_RCT"
    elif syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(decoder.frame(saved(dataset), 1), picture)


def jfif(picture: np.ndarray) -> bytes:
    """YCbCr with a JFIF marker, as most streams are."""
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def adobe_ycbcr(picture: np.ndarray) -> bytes:
    """YCbCr with an Adobe marker instead."""
    jpeg = jfif(picture)
    end_of_app0 = 4 + int.from_bytes(jpeg[4:6], "big")
    marker = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
    return jpeg[:2] + marker + jpeg[end_of_app0:]


def adobe_rgb(picture: np.ndarray) -> bytes:
    """RGB, said by an Adobe marker and by the components' names R, G, B."""
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95, keep_rgb=True)
    return stream.getvalue()


def named_rgb(picture: np.ndarray) -> bytes:
    """RGB, said by the components' names alone."""
    jpeg = adobe_rgb(picture)
    assert jpeg[2:4] == b"\xff\xee"
    return jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]


def bare_rgb(picture: np.ndarray) -> bytes:
    """RGB that only the DICOM header knows of: no marker, and components 1, 2, 3."""
    jpeg = bytearray(named_rgb(picture))
    frame, scan = jpeg.index(b"\xff\xc0"), jpeg.index(b"\xff\xda")
    for number in range(3):
        jpeg[frame + 10 + 3 * number] = jpeg[scan + 5 + 2 * number] = number + 1
    return bytes(jpeg)


@pytest.mark.parametrize(
    ("stream", "photometric"),
    [
        (jfif, "YBR_FULL_422"),
        (jfif, "RGB"),  # the header is wrong
        (adobe_ycbcr, "YBR_FULL_422"),
        (adobe_rgb, "RGB"),
        (adobe_rgb, "YBR_FULL_422"),  # the header is wrong
        (named_rgb, "RGB"),
        (bare_rgb, "RGB"),
    ],
)
def test_jpeg_colours_are_right_whatever_markers_there_are(
    stream: Callable[[np.ndarray], bytes],
    photometric: str,
    picture: np.ndarray,
    decoder: Decoder,
    saved: Saved,
) -> None:
    dataset = wrap_pixels(picture, "stripes")
    dataset.PixelData = encapsulate([stream(picture)])
    dataset["PixelData"].is_undefined_length = True
    dataset.PhotometricInterpretation = photometric
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    decoded = decoder.frame(saved(dataset), 1).astype(int)
    assert np.abs(decoded - picture).mean() < 4


def test_planar_configuration_1(picture: np.ndarray, decoder: Decoder, saved: Saved) -> None:
    dataset = wrap_pixels(picture, "planes")
    dataset.PlanarConfiguration = 1
    dataset.PixelData = picture.transpose(2, 0, 1).tobytes()
    assert np.array_equal(decoder.frame(saved(dataset), 1), picture)


def test_monochrome1_is_inverted(decoder: Decoder, saved: Saved) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8), (32, 1))
    dataset = wrap_pixels(ramp, "ramp")
    dataset.PhotometricInterpretation = "MONOCHROME1"
    assert np.array_equal(decoder.frame(saved(dataset), 1)[..., 0], 255 - ramp)


def deep_ramp(bits: int) -> Dataset:
    """32 × 64 pixels with values 0, 10, … 630, ``bits`` of 16 stored."""
    dataset = wrap_pixels(np.zeros((32, 64), dtype=np.uint8), "deep")
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelData = np.tile(10 * np.arange(64, dtype="<u2"), (32, 1)).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def test_more_than_8_bits_are_stretched_from_minimum_to_maximum(
    decoder: Decoder, saved: Saved
) -> None:
    row = decoder.frame(saved(deep_ramp(12)), 1)[0, :, 0]
    assert np.array_equal(row, np.rint(np.arange(64) / 63 * 255))


def test_more_than_8_bits_go_through_the_window_of_the_header(
    decoder: Decoder, saved: Saved
) -> None:
    dataset = deep_ramp(12)
    dataset.WindowCenter, dataset.WindowWidth = [300, 1], [101, 2]
    row = decoder.frame(saved(dataset), 1)[0, :, 0].astype(int)
    assert row[24] == 0  # 240
    assert row[30] == pytest.approx(128, abs=2)  # 300, the centre
    assert row[36] == 255  # 360


def palette_dataset(bits: int, entries: list[int]) -> Dataset:
    """16 × 16 pixels with the values 0–255, a palette of ``entries`` from value 2 on."""
    dataset = wrap_pixels(np.arange(256, dtype=np.uint8).reshape(16, 16), "palette")
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [len(entries), 2, bits])
        table = np.asarray(entries, dtype="<u2" if bits == 16 else "u1").tobytes()
        setattr(dataset, f"{colour}PaletteColorLookupTableData", table)
    return dataset


@pytest.mark.parametrize(
    ("bits", "entries"),
    [
        (8, [7, 100, 200, 250]),
        (16, [7 << 8, 100 << 8, 200 << 8, 250 << 8]),
        (16, [7, 100, 200, 250]),  # says 16 bits and has 8: common
    ],
)
def test_palette(bits: int, entries: list[int], decoder: Decoder, saved: Saved) -> None:
    values = decoder.frame(saved(palette_dataset(bits, entries)), 1)[..., 0].ravel()
    assert values[:7].tolist() == [7, 7, 7, 100, 200, 250, 250]
    assert values[-1] == 250


def test_segmented_palette(decoder: Decoder, saved: Saved) -> None:
    dataset = palette_dataset(16, [0] * 10)
    # Two values; a line of four up to 0x5000; the first segment once more; a line of two.
    segments = [0, 2, 0x1000, 0x1100, 1, 4, 0x5000, 2, 1, 0, 0, 1, 2, 0x1500]
    for colour in ("Red", "Green", "Blue"):
        delattr(dataset, f"{colour}PaletteColorLookupTableData")
        table = np.asarray(segments, dtype="<u2").tobytes()
        setattr(dataset, f"Segmented{colour}PaletteColorLookupTableData", table)
    values = decoder.frame(saved(dataset), 1)[..., 0].ravel()[2:12]
    assert values.tolist() == [0x10, 0x11, 0x20, 0x30, 0x40, 0x50, 0x10, 0x11, 0x13, 0x15]


def test_frames_of_a_cine(us_dicom: Path, decoder: Decoder) -> None:
    path = us_dicom / "other/pydicom__examples_ybr_color.dcm"
    assert decoder.number_of_frames(path) == 30
    first, last = decoder.frame(path, 1), decoder.frame(path, 30)
    assert first.shape == last.shape == (240, 320, 3)
    assert not np.array_equal(first, last)
    assert refusal(decoder, path, 31) == "undecodable"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not-dicom"),
        (np.random.default_rng(0).bytes(5000), "not-dicom"),
        (b"\0" * 128 + b"DICM" + np.random.default_rng(0).bytes(5000), "unreadable-header"),
    ],
    ids=["empty", "random", "random after the magic word"],
)
def test_no_dicom(content: bytes, code: str, decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(content)
    with pytest.raises(DecodeError) as caught:
        decoder.number_of_frames(path)
    assert caught.value.code == code


def test_a_png_under_a_wrong_name(picture: np.ndarray, decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    Image.fromarray(picture).save(path, "PNG")
    assert refusal(decoder, path) == "not-dicom"


@pytest.mark.parametrize(
    "name",
    [
        "breast/uta4_p1_d045f565_IM128.dcm",  # uncompressed
        "other/dcm4che__YBR_FULL-RLE.dcm",
        "other/dcm4che__jpeg-ls-Palette.dcm",
        "other/pydicom-data__US1_J2KR.dcm",
        "other/pydicom-data__JPGLosslessP14SV1_1s_1f_8b.dcm",
        "other/pylibjpeg-data__JPEGExtended_3s_1f_u_08_08.dcm",
        "other/pydicom__examples_ybr_color.dcm",  # JPEG baseline
    ],
)
def test_truncated_files(name: str, us_dicom: Path, decoder: Decoder, tmp_path: Path) -> None:
    whole = (us_dicom / name).read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole[: int(len(whole) * 0.7)])
    last = dcmread(us_dicom / name, stop_before_pixels=True).get("NumberOfFrames") or 1
    assert refusal(decoder, path, int(last)) == "undecodable"


def test_an_unsupported_transfer_syntax(us_dicom: Path, decoder: Decoder) -> None:
    path = us_dicom / "other/dcm4che__will-jxl.dcm"
    assert decoder.number_of_frames(path) == 27
    assert refusal(decoder, path) == "unsupported-transfer-syntax"


def test_no_pixels(tissue: Dataset, decoder: Decoder, saved: Saved) -> None:
    del tissue.PixelData
    assert refusal(decoder, saved(tissue)) == "no-pixels"


@pytest.mark.parametrize(
    "name", ["pydicom__examples_ybr_color.dcm", "go-dicom__I_000003.dcm", "go-dicom__I_000013.dcm"]
)
def test_real_baseline_jpeg_is_as_pydicoms_plugin_decodes_it(us_dicom: Path, name: str) -> None:
    """GDCM has a libjpeg of its own: its inverse DCT may round otherwise, by a few grey levels."""
    (path,) = us_dicom.glob(f"*/{name}")
    data_set = dcmread(path)
    theirs, _ = get_decoder(JPEGBaseline8Bit).as_array(data_set, index=0, decoding_plugin="gdcm")
    ours = decode_frame(data_set, 1)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 3
