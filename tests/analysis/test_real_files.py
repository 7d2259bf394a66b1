"""Every real ultrasound file gets an outcome. The expectations were checked by eye."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

from service.analysis.analyser import Analyser
from service.analysis.decode import Decoder
from service.journal.records import ImageState
from service.sections import AnalysisSettings

STARTED = datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)
COLOURED = "doppler-or-elastography"

ANALYSED = {
    # file: (box, its source)
    "breast/uta4_p1_d045f565_IM128.dcm": ((24, 21, 452, 400), "content box"),
    "breast/uta4_p2_9cfd047c_IM256.dcm": ((8, 21, 544, 400), "content box"),
    "breast/uta4_p3_aec1f10a_IM177.dcm": ((7, 43, 611, 423), "content box"),
    "breast/uta7_Anonymized1_US000000.dcm": ((57, 30, 486, 410), "content box"),
    "breast/uta7_Anonymized3_US000000.dcm": ((20, 19, 555, 398), "content box"),
    "breast/uta7_Anonymized4_US000000.dcm": ((50, 16, 479, 396), "content box"),
    "breast/uta7_Anonymized5_US000000.dcm": ((36, 38, 572, 417), "content box"),
    "breast/uta7_Anonymized6_US000000.dcm": ((36, 37, 572, 415), "content box"),
    "breast/uta11_00378d36_IM4.dcm": ((41, 30, 577, 409), "content box"),
    "other/dcm4che__YBR_422.dcm": ((184, 75, 800, 555), "ultrasound region"),
    "other/dcm4che__YBR_FULL-RLE.dcm": ((84, 48, 484, 416), "ultrasound region"),
    "other/go-dicom__I_000013.dcm": ((0, 0, 384, 288), "ultrasound region"),
    "other/pydicom-data__JPGLosslessP14SV1_1s_1f_8b.dcm": (
        (14, 38, 1011, 759),
        "ultrasound region",
    ),
    "other/pydicom-data__OBXXXX1A_expb.dcm": ((120, 60, 800, 519), "ultrasound region"),
    "other/pydicom-data__OBXXXX1A_rle_2frame.dcm": ((120, 60, 800, 519), "ultrasound region"),
    # Of the two views the left one is brighter, and so more suspicious to this model.
    "other/pydicom-data__gdcm-US-ALOKA-16.dcm": ((32, 24, 336, 416), "ultrasound region"),
    "other/pydicom__examples_palette.dcm": ((120, 60, 800, 350), "ultrasound region, clamped"),
    "other/pydicom__examples_ybr_color.dcm": ((107, 27, 241, 202), "content box"),
    "other/pylibjpeg-data__JPEGExtended_3s_1f_u_08_08.dcm": (
        (100, 57, 580, 537),
        "ultrasound region",
    ),
}
NOT_ANALYSABLE = {
    "breast/uta11_a661b03c_IM4.dcm": "sop-class",
    "other/dcm4che__US-PAL-8-10x-echo.dcm": COLOURED,
    "other/dcm4che__US-RGB-8-epicard.dcm": COLOURED,
    "other/dcm4che__jpeg-ls-Palette.dcm": COLOURED,
    "other/dcm4che__will-jxl.dcm": "unsupported-transfer-syntax",
    "other/go-dicom__I_000003.dcm": COLOURED,
    "other/go-dicom__I_000034.dcm": "imaging-mode",
    "other/pydicom-data__US1_J2KI.dcm": COLOURED,
    "other/pydicom-data__US1_J2KR.dcm": COLOURED,
    "other/pydicom-data__US1_UNCI.dcm": COLOURED,
}


def texts(report: Dataset) -> list[str]:
    return [str(element.value) for element in report.iterall() if element.keyword == "TextValue"]


def test_the_tables_name_every_file(us_dicom: Path) -> None:
    with (us_dicom / "manifest.csv").open(newline="") as stream:
        files = {row["file"] for row in csv.DictReader(stream)}
    assert files == ANALYSED.keys() | NOT_ANALYSABLE.keys()


@pytest.mark.parametrize("name", ANALYSED)
def test_analysed(name: str, us_dicom: Path, analyser: Analyser) -> None:
    box, source = ANALYSED[name]
    analysis = analyser.analyse(us_dicom / name, revision=0, started_at=STARTED)
    outcome = analysis.outcome
    assert outcome.state is ImageState.ANALYSED
    assert outcome.region == box
    assert outcome.probability_malignant is not None
    assert outcome.probability_benign is not None
    assert outcome.probability_malignant + outcome.probability_benign == 1
    assert outcome.objects == ("sr.dcm", "sc.dcm")
    assert outcome.stage_seconds.keys() == {"decode", "screen", "inference", "report"}
    files = dict(analysis.files)
    report = dcmread(BytesIO(files["sr.dcm"]))
    assert report.StudyInstanceUID == dcmread(us_dicom / name).StudyInstanceUID
    assert any(source in text for text in texts(report))
    capture = dcmread(BytesIO(files["sc.dcm"]))
    with Image.open(BytesIO(files["overlay.png"])) as picture:
        assert np.array_equal(np.asarray(picture), capture.pixel_array)


@pytest.mark.parametrize("name", NOT_ANALYSABLE)
def test_not_analysable(name: str, us_dicom: Path, analyser: Analyser) -> None:
    analysis = analyser.analyse(us_dicom / name, revision=0, started_at=STARTED)
    assert analysis.outcome.state is ImageState.NOT_ANALYSABLE
    assert analysis.outcome.reason == NOT_ANALYSABLE[name]
    assert analysis.outcome.objects == ("sr.dcm",)
    report = dcmread(BytesIO(dict(analysis.files)["sr.dcm"]))
    assert analysis.outcome.reason_text is not None
    sentence = analysis.outcome.reason_text.rstrip(".")
    assert any(sentence in text for text in texts(report))


def test_the_most_suspicious_frame_of_a_cine_is_reported(
    us_dicom: Path, settings: AnalysisSettings
) -> None:
    # The test model says: the brighter, the more malignant.
    path = us_dicom / "other/pydicom__examples_ybr_color.dcm"
    every = Analyser(settings.model_copy(update={"frame_stride": 1}))
    outcome = every.analyse(path, revision=0, started_at=STARTED).outcome
    every.close()
    with Decoder(20, 1024) as decoder:
        assert decoder.number_of_frames(path) == 30
    assert outcome.frame is not None
    assert 1 <= outcome.frame <= 30
    single = Analyser(settings.model_copy(update={"max_frames": 1}))
    first = single.analyse(path, revision=0, started_at=STARTED).outcome
    single.close()
    assert first.frame == 1
    assert first.probability_malignant is not None
    assert outcome.probability_malignant is not None
    assert outcome.probability_malignant > first.probability_malignant


def test_a_second_analysis_gives_the_same_bytes(us_dicom: Path, analyser: Analyser) -> None:
    path = us_dicom / "breast/uta4_p2_9cfd047c_IM256.dcm"
    first = analyser.analyse(path, revision=0, started_at=STARTED)
    assert analyser.analyse(path, revision=0, started_at=STARTED).files == first.files
