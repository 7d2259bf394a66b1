"""One image's analysis: outcomes with reasons, cines, and what its result files hold."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UltrasoundMultiFrameImageStorage

from service.analysis.analyser import Analyser, Analysis, chosen_frames
from service.analysis.inference import InferenceError
from service.analysis.model_package import MODEL_FILE, ModelPackage, ModelPackageError
from service.journal.records import ImageState
from service.sections import AnalysisSettings

Saved = Callable[..., Path]
STARTED = datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)


def analyse(analyser: Analyser, path: Path) -> Analysis:
    return analyser.analyse(path, revision=0, started_at=STARTED)


def cine(tissue: Dataset, frames: list[np.ndarray]) -> Dataset:
    tissue.SOPClassUID = UltrasoundMultiFrameImageStorage
    tissue.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    tissue.NumberOfFrames = len(frames)
    tissue.SamplesPerPixel, tissue.PhotometricInterpretation = 3, "RGB"
    tissue.PlanarConfiguration = 0
    tissue.Rows, tissue.Columns = frames[0].shape[:2]
    tissue.PixelData = np.stack(frames).tobytes()
    return tissue


def even(grey: int) -> np.ndarray:
    return np.full((80, 100, 3), grey, dtype=np.uint8)


def test_a_bright_image_is_malignant(analyser: Analyser, tissue: Dataset, saved: Saved) -> None:
    analysis = analyse(analyser, saved(cine(tissue, [even(250)])))
    outcome = analysis.outcome
    assert outcome.state is ImageState.ANALYSED
    assert outcome.decision == "malignant"
    assert outcome.threshold == 0.5
    assert outcome.region == (0, 0, 100, 80)
    assert outcome.model_sha256 == analyser.package.manifest.sha256
    assert [name for name, _ in analysis.files] == ["sr.dcm", "sc.dcm", "overlay.png"]
    assert outcome.objects == ("sr.dcm", "sc.dcm")


def test_of_a_cine_the_most_suspicious_frame_is_reported(
    tissue: Dataset, saved: Saved, settings: AnalysisSettings
) -> None:
    frames = [even(grey) for grey in (20, 60, 90, 240, 100, 30, 200)]
    path = saved(cine(tissue, frames))
    every = Analyser(settings.model_copy(update={"frame_stride": 1}))
    third = Analyser(settings.model_copy(update={"frame_stride": 3}))
    second = Analyser(settings.model_copy(update={"frame_stride": 2}))
    found = [analyse(analyser, path).outcome.frame for analyser in (every, third, second)]
    for analyser in (every, third, second):
        analyser.close()
    assert found == [4, 4, 7]  # the third one sees the frames 1, 4, 7, the second 1, 3, 5, 7


def test_coloured_frames_of_a_cine_are_left_out(
    tissue: Dataset, saved: Saved, settings: AnalysisSettings
) -> None:
    doppler = even(250)
    doppler[20:40, 20:40] = (255, 40, 0)
    path = saved(cine(tissue, [even(60), doppler, even(80)]))
    every = Analyser(settings.model_copy(update={"frame_stride": 1}))
    analysis = analyse(every, path)
    every.close()
    assert analysis.outcome.frame == 3
    report = dcmread(BytesIO(dict(analysis.files)["sr.dcm"]))
    texts = [str(item.value) for item in report.iterall() if item.keyword == "TextValue"]
    assert any("1 frames were left out" in text for text in texts)


def test_a_cine_of_coloured_frames_is_refused(
    analyser: Analyser, tissue: Dataset, saved: Saved
) -> None:
    frame = even(60)
    frame[20:40, 20:40] = (255, 40, 0)
    outcome = analyse(analyser, saved(cine(tissue, [frame] * 7))).outcome
    assert outcome.reason == "doppler-or-elastography"


@pytest.mark.parametrize(
    ("frames", "stride", "most", "expected"),
    [
        (1, 5, 64, (1,)),
        (11, 5, 64, (1, 6, 11)),
        (10, 5, 64, (1, 6)),
        (10, 1, 3, (1, 4, 7)),
        (10, 2, 1, (1,)),
        (3, 5, 2, (1,)),
    ],
)
def test_which_frames_are_scored(
    frames: int, stride: int, most: int, expected: tuple[int, ...]
) -> None:
    assert chosen_frames(frames, stride, most) == expected


def test_a_huge_number_of_frames_takes_no_time() -> None:
    assert len(chosen_frames(2**31 - 1, 5, 64)) == 64


def test_what_is_no_dicom_has_an_outcome_without_files(analyser: Analyser, tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(b"nothing")
    analysis = analyse(analyser, path)
    assert analysis.outcome.state is ImageState.NOT_ANALYSABLE
    assert analysis.outcome.reason == "not-dicom"
    assert analysis.outcome.objects == ()
    assert analysis.files == ()


def test_truncated_pixels_are_reported(analyser: Analyser, tissue: Dataset, saved: Saved) -> None:
    path = saved(tissue)
    path.write_bytes(path.read_bytes()[:-5000])
    analysis = analyse(analyser, path)
    assert analysis.outcome.reason == "undecodable"
    assert analysis.outcome.objects == ("sr.dcm",)
    report = dcmread(BytesIO(analysis.files[0][1]))
    assert report.StudyInstanceUID == tissue.StudyInstanceUID


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_header_that_cannot_be_referred_to(
    keyword: str, analyser: Analyser, tissue: Dataset, saved: Saved
) -> None:
    setattr(tissue, keyword, "")
    analysis = analyse(analyser, saved(tissue))
    assert analysis.outcome.state is ImageState.NOT_ANALYSABLE
    assert analysis.outcome.reason == "incomplete-header"
    assert analysis.files == ()


def test_a_decoder_killed_at_work_changes_nothing(
    tissue: Dataset, saved: Saved, settings: AnalysisSettings
) -> None:
    path = saved(cine(tissue, [even(grey) for grey in range(20, 140)]))
    analyser = Analyser(settings.model_copy(update={"frame_stride": 1, "max_frames": 120}))
    expected = analyse(analyser, path)
    child = analyser._decoder.child_pid
    assert child is not None
    with ThreadPoolExecutor() as pool:
        running = pool.submit(analyse, analyser, path)
        time.sleep(0.1)
        assert not running.done()
        os.kill(child, signal.SIGKILL)
        analysis = running.result(60)
    assert analyser._decoder.child_pid != child
    analyser.close()
    assert analysis.files == expected.files


def test_two_threads_get_the_results_of_one(
    analyser: Analyser, us_dicom: Path, tissue: Dataset
) -> None:
    paths = sorted((us_dicom / "breast").glob("uta7*.dcm"))[:3]
    expected = [analyse(analyser, path).files for path in paths]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda path: analyse(analyser, path).files, paths * 2))
    assert found == expected * 2


def test_a_broken_package_is_refused(package: ModelPackage, tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match="not a model package"):
        Analyser(AnalysisSettings(model=tmp_path))


def test_a_model_that_answers_nonsense_is_refused(broken_package: ModelPackage) -> None:
    with pytest.raises(InferenceError):
        Analyser(AnalysisSettings(model=broken_package.folder, threads=1))
    assert (broken_package.folder / MODEL_FILE).is_file()
