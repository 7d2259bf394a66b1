"""Sources, findings and validators for the result objects."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import UID

from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.identity import ResultKind
from dicom_sr.key_objects import build_key_objects
from dicom_sr.part10 import part10_bytes
from dicom_sr.presentation_state import build_presentation_state
from dicom_sr.reference import reference_to
from dicom_sr.rejection_note import RejectionReason, build_rejection_note
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from dicom_sr.segmentation import build_segmentation
from dicom_sr.source import header_text
from dicom_sr.study_report import ImageResult, Scored, build_study_report

from .pixelmed import PixelMed, Shape, shape

REPOSITORY = Path(__file__).resolve().parents[2]
STARTED_AT = datetime(2025, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``ultrasound_path``: every real ultrasound file."""
    if "ultrasound_path" not in metafunc.fixturenames:
        return
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("SECONDREAD_DATA", default)) / "us-dicom"
    paths: list[object] = [
        pytest.param(path, id=path.stem) for path in sorted(folder.rglob("*.dcm"))
    ]
    if not paths:
        reason = "the test data are not here: set SECONDREAD_DATA to their folder"
        paths = [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    metafunc.parametrize("ultrasound_path", paths, scope="module")


def _run(program: str, *arguments: str) -> str:
    path = shutil.which(program)
    assert path is not None, (
        f"{program} is not installed: apt-get install dcmtk dicom3tools "
        "pixelmed-apps (make test does it)"
    )
    done = subprocess.run(
        [path, *arguments],
        capture_output=True,
        timeout=60,
        check=False,
        encoding="utf-8",
        errors="replace",
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def run_tool() -> Callable[..., str]:
    """``run_tool(program, *arguments)``: what a Debian tool prints."""
    return _run


@pytest.fixture
def iod_errors(tmp_path: Path) -> Callable[[bytes], list[str]]:
    """``iod_errors(part10)``: the errors that dciodvfy finds in a file."""

    def errors(content: bytes) -> list[str]:
        path = tmp_path / "object.dcm"
        path.write_bytes(content)
        said = _run("dciodvfy", "-new", str(path))
        assert said, "dciodvfy said nothing"
        lines = said.split("\n")  # other ends of lines are parts of values
        return [line for line in lines if line.startswith("Error")]

    return errors


def _wrong_uids(source: Dataset) -> list[str]:
    keywords = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    uids = [header_text(source, keyword) for keyword in keywords]
    return [uid for uid in uids if not UID(uid).is_valid or uid[:2] not in ("0.", "1.", "2.")]


@pytest.fixture(scope="session")
def wrong_uids() -> Callable[[Dataset], list[str]]:
    """``wrong_uids(source)``: the UIDs that it has wrong; a result must name it as it is."""
    return _wrong_uids


@pytest.fixture
def our_errors(
    iod_errors: Callable[[bytes], list[str]],
) -> Callable[[Dataset, Dataset], list[str]]:
    """``our_errors(source, result)``: dciodvfy's, but those that quote the source's wrong UIDs."""

    def errors(source: Dataset, result: Dataset) -> list[str]:
        quoted = [f"<{uid}>" for uid in _wrong_uids(source)]
        found = iod_errors(part10_bytes(result))
        return [error for error in found if not any(uid in error for uid in quoted)]

    return errors


@pytest.fixture(scope="session")
def pixelmed_complaints(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Dataset], list[str]]]:
    """``pixelmed_complaints(report)``: errors and warnings of PixelMed's DicomSRValidator.

    It takes a second for each document, and is asked once for those of one shape.
    """
    validator = PixelMed()
    path = tmp_path_factory.mktemp("pixelmed") / "report.dcm"
    known: dict[Shape, list[str]] = {}

    def complaints(report: Dataset) -> list[str]:
        seen = shape(report)
        if seen not in known:
            path.write_bytes(part10_bytes(report))
            known[seen] = validator.complaints(path)
        return known[seen]

    yield complaints
    validator.stop()


@pytest.fixture(scope="session")
def started_at() -> datetime:
    return STARTED_AT


@pytest.fixture(scope="session")
def model() -> ModelIdentity:
    return ModelIdentity(
        "SecondRead ResNet50", "1.2.0", "0123456789abcdef" * 4, ("input=1024x1024 luminance",)
    )


def blob(height: int, width: int) -> NDArray[np.float32]:
    """A CAM with one round hot spot, ``(height, width)``, 0 far from it and 1 at its top."""
    rows, columns = np.mgrid[:height, :width]
    distance = ((columns / width - 0.6) / 0.15) ** 2 + ((rows / height - 0.45) / 0.2) ** 2
    cam = np.exp(-distance)
    cam[cam < 0.02] = 0
    return (cam / cam.max()).astype(np.float32)


@pytest.fixture(scope="session")
def make_finding() -> Callable[..., Finding]:
    """``make_finding(region, **fields)``: a malignant finding with one hot spot in ``region``."""

    def make(region: Box, **fields: object) -> Finding:
        values: dict[str, object] = {
            "frame": 1,
            "frames_scored": 1,
            "region": region,
            "region_source": "ultrasound region",
            "probability_malignant": 0.7321,
            "probability_benign": 0.2679,
            "threshold": 0.41,
            "cam": blob(region.height, region.width),
        }
        return Finding(**(values | fields))  # type: ignore[arg-type]

    return make


def _analysed_box(source: Dataset) -> Box:
    """The first 2D tissue region where it lies inside the image, else the whole frame."""
    for region in source.get("SequenceOfUltrasoundRegions", []):
        right, bottom = region.RegionLocationMaxX1, region.RegionLocationMaxY1
        inside = right < source.Columns and bottom < source.Rows
        if inside and region.RegionSpatialFormat == 1 and region.RegionDataType == 1:
            left, top = region.RegionLocationMinX0, region.RegionLocationMinY0
            return Box(left, top, right + 1, bottom + 1)
    return Box(0, 0, source.Columns, source.Rows)


@pytest.fixture(scope="session")
def finding_in(make_finding: Callable[..., Finding]) -> Callable[..., Finding]:
    """``finding_in(source, **fields)``: a finding in the tissue region of a real file's middle
    frame."""

    def find(source: Dataset, **fields: object) -> Finding:
        frame = (int(source.get("NumberOfFrames") or 1) + 1) // 2
        return make_finding(_analysed_box(source), **({"frame": frame} | fields))

    return find


@pytest.fixture
def source() -> Dataset:
    """The header of a plain single-frame breast ultrasound image of 200 × 300 pixels."""
    header = Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    header.SOPInstanceUID = "1.2.3.4.5.1"
    header.StudyInstanceUID = "1.2.3.4.5.2"
    header.SeriesInstanceUID = "1.2.3.4.5.3"
    header.Modality = "US"
    header.PatientName = "Doe^Jane"
    header.PatientID = "P-17"
    header.PatientBirthDate = "19700102"
    header.PatientSex = "F"
    header.AccessionNumber = "A-4"
    header.StudyID = "S-1"
    header.StudyDate = "20250303"
    header.StudyTime = "101112"
    header.ReferringPhysicianName = "Roe^Richard"
    header.Manufacturer = "Maker"
    header.InstanceNumber = 7
    header.Rows = 200
    header.Columns = 300
    return header


@pytest.fixture(scope="session")
def our_objects(
    model: ModelIdentity, started_at: datetime, make_finding: Callable[..., Finding]
) -> Callable[[Dataset], dict[ResultKind, Dataset]]:
    """``our_objects(source)``: one object of each kind for an image of at least 220 × 130 pixels.

    The reports replace earlier ones; the key objects and the rejection note refer to the report
    and to the overlay.
    """

    def build(source: Dataset) -> dict[ResultKind, Dataset]:
        finding = make_finding(Box(20, 10, 220, 130))
        now = {"revision": 0, "started_at": started_at}
        overlay = np.full((150, 240, 3), 90, dtype=np.uint8)
        earlier = build_report(source, finding, model, **now)
        report = build_report(
            source, finding, model, **now, edition=1, predecessor=reference_to(earlier)
        )
        capture = build_secondary_capture(source, overlay, finding, model, **now)
        referred = [reference_to(capture), reference_to(report)]
        reason = RejectionReason.QUALITY
        scored = Scored(
            finding.frame,
            finding.frames_scored,
            finding.probability_malignant,
            finding.threshold,
            finding.decision,
            finding.region,
            finding.unlike_training,
        )
        segmentation = build_segmentation(source, finding, model, **now)
        state = build_presentation_state(source, finding, model, **now)
        assert segmentation is not None
        assert state is not None
        return {
            ResultKind.REPORT: report,
            ResultKind.OVERLAY: capture,
            ResultKind.SEGMENTATION: segmentation,
            ResultKind.KEY_OBJECTS: build_key_objects(source, finding, model, referred, **now),
            ResultKind.PRESENTATION_STATE: state,
            ResultKind.REJECTION_NOTE: build_rejection_note(
                source, referred, model, reason, "The probe was on the phantom.", **now
            ),
            ResultKind.STUDY_REPORT: build_study_report(
                [ImageResult(source, scored, model, reference_to(report))],
                number=1,
                with_reports=True,
                started_at=started_at,
            ),
        }

    return build


@pytest.fixture(scope="session")
def read_frame() -> Callable[[Dataset, int], NDArray[np.uint8]]:
    """``read_frame(dataset, number)``: the frame (1-based) as ``(H, W, 3)`` uint8 RGB."""

    def read(dataset: Dataset, number: int) -> NDArray[np.uint8]:
        pixels = pixel_array(dataset, index=number - 1)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, dataset)
            if pixels.dtype != np.uint8:
                pixels = pixels >> 8
        elif pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        return pixels.astype(np.uint8)

    return read


@pytest.fixture
def ultrasound(ultrasound_path: Path) -> Iterator[Dataset]:
    """One real file, lazily read."""
    with pydicom.dcmread(ultrasound_path) as dataset:
        yield dataset
