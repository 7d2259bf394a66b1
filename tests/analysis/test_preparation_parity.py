"""What ``secondread-model prepare`` writes is what the service gives to the network."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from dicom_sr.finding import NotAnalysed
from model_export.preparation.labelme import Annotation, Shape
from model_export.preparation.source import Frame, Picture, crop, read_frame
from service.analysis import inference
from service.analysis.analyser import Analyser
from service.analysis.decode import Decoder
from service.analysis.preprocessing import Preprocessing, luminance, preprocess
from service.offline import analyse_file
from service.sections import AnalysisSettings

STARTED = datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)
TWO_VIEWS = "other/pydicom-data__gdcm-US-ALOKA-16.dcm"


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What the service hands to ``preprocess``, in its order."""
    seen: list[np.ndarray] = []

    def recording(image: np.ndarray, spec: Preprocessing) -> np.ndarray:
        seen.append(image.copy())
        return preprocess(image, spec)

    monkeypatch.setattr(inference, "preprocess", recording)
    return seen


def frame_of(decoder: Decoder, file: Path, settings: AnalysisSettings, number: int = 1) -> Frame:
    frame = read_frame(decoder, file, number, settings.coloured_share)
    assert isinstance(frame, Frame)
    return frame


def test_every_real_file_gives_the_services_pixels_or_its_reason(
    us_dicom: Path,
    analyser: Analyser,
    decoder: Decoder,
    settings: AnalysisSettings,
    scored: list[np.ndarray],
) -> None:
    spec = analyser.package.manifest.preprocessing
    files = sorted(us_dicom.glob("*/*.dcm"))
    assert len(files) == 29
    written = 0
    for file in files:
        scored.clear()
        outcome = analyser.analyse(file, revision=0, started_at=STARTED).outcome
        frame = read_frame(decoder, file, 1, settings.coloured_share)
        if isinstance(frame, NotAnalysed):
            assert (frame.code, frame.text) == (outcome.reason, outcome.reason_text), file.name
            continue
        assert outcome.reason is None, file.name
        for number, box in enumerate(frame.boxes):
            picture = crop(Frame(frame.pixels, (box,), ""), None, "benign")
            assert isinstance(picture, Picture)
            # `preprocess` begins with the luminance: from there on the pixels are the same.
            assert np.array_equal(picture.pixels, luminance(scored[number])), file.name
            assert np.array_equal(
                preprocess(picture.pixels, spec), preprocess(scored[number], spec)
            )
            written += 1
    assert written == 20  # 19 files, one with two views


@pytest.mark.parametrize("name", ["picture.png", "picture.jpg"])
def test_still_pictures_too(
    name: str,
    us_dicom: Path,
    tmp_path: Path,
    analyser: Analyser,
    decoder: Decoder,
    settings: AnalysisSettings,
    scored: list[np.ndarray],
) -> None:
    pixels = dcmread(us_dicom / "breast/uta4_p3_aec1f10a_IM177.dcm").pixel_array
    Image.fromarray(pixels).save(tmp_path / name)
    assert analyse_file(analyser, tmp_path / name, None).outcome == "analysed"
    picture = crop(frame_of(decoder, tmp_path / name, settings), None, "benign")
    assert isinstance(picture, Picture)
    assert np.array_equal(picture.pixels, luminance(scored[-1]))


def test_a_frame_is_chosen_by_its_number(
    us_dicom: Path, decoder: Decoder, settings: AnalysisSettings
) -> None:
    cine = us_dicom / "other/go-dicom__I_000013.dcm"
    first, last = (frame_of(decoder, cine, settings, number) for number in (1, 15))
    assert not np.array_equal(first.pixels, last.pixels)
    missing = read_frame(decoder, cine, 16, settings.coloured_share)
    assert isinstance(missing, NotAnalysed)
    assert missing.code == "no-such-frame"


def test_what_is_no_image_is_a_reason(
    tmp_path: Path, decoder: Decoder, settings: AnalysisSettings
) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "b.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    reasons = []
    for name in ("a.png", "b.dcm"):
        refusal = read_frame(decoder, tmp_path / name, 1, settings.coloured_share)
        assert isinstance(refusal, NotAnalysed)
        reasons.append(refusal.code)
    assert reasons == ["unreadable", "unreadable-header"]


def square(x: float, y: float, label: str = "malignant") -> Shape:
    return Shape(label, ((x, y), (x + 30, y), (x + 30, y + 30), (x, y + 30)))


def test_of_two_views_the_outline_chooses(
    us_dicom: Path, decoder: Decoder, settings: AnalysisSettings
) -> None:
    frame = frame_of(decoder, us_dicom / TWO_VIEWS, settings)
    assert len(frame.boxes) == 2
    assert crop(frame, None, "benign") == "two-pictures-no-outline"
    height, width = frame.pixels.shape[:2]
    for box in frame.boxes:
        outline = square(box.left + 40, box.top + 50)
        picture = crop(frame, Annotation("a", height, width, (outline,)), "malignant")
        assert isinstance(picture, Picture)
        inside = frame.pixels[box.top : box.bottom, box.left : box.right]
        assert np.array_equal(picture.pixels, luminance(inside))
        assert picture.annotation is not None
        assert picture.annotation.shapes[0].points[0] == (40, 50)


def test_outlines_that_do_not_fit(
    us_dicom: Path, decoder: Decoder, settings: AnalysisSettings
) -> None:
    frame = frame_of(decoder, us_dicom / "breast/uta4_p1_d045f565_IM128.dcm", settings)
    height, width = frame.pixels.shape[:2]
    (box,) = frame.boxes
    assert (box.left, box.top) == (24, 21)
    inside, outside = square(100, 100), square(box.right + 5, 50)

    def reason(label: str, *shapes: Shape, rows: int = height) -> object:
        found = crop(frame, Annotation("a", rows, width, shapes), label)  # type: ignore[arg-type]
        return None if isinstance(found, Picture) else found

    assert reason("malignant", inside) is None
    assert reason("malignant", inside, rows=height + 1) == "outline-of-another-size"
    assert reason("benign", inside) == "outline-of-other-label"
    assert reason("malignant", outside) == "outline-outside-picture"
    # A remark of the reader that is no lesion's outline is no outline.
    assert reason("benign", square(100, 100, "rib")) is None
