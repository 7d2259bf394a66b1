"""What a radiologist sees of our results in OHIF: of a cine, and of a real breast image."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.key_objects import build_key_objects
from dicom_sr.overlay import draw_overlay
from dicom_sr.part10 import part10_bytes
from dicom_sr.presentation_state import build_presentation_state
from dicom_sr.reference import reference_to
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from dicom_sr.segmentation import build_segmentation
from dicom_sr.study_report import ImageResult, Scored, build_study_report
from service.analysis.pixels import decode_frame, number_of_frames
from service.scu import Peer, send_files

MODEL = ModelIdentity("SecondRead ResNet50", "2.0.0", "0123456789abcdef" * 4)
STARTED_AT = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)

REPORT = "AI breast ultrasound report, unverified"
OVERLAY = "AI breast ultrasound overlay, unverified"
SUMMARY = "AI breast ultrasound study summary, unverified"
HEATMAP = "AI breast ultrasound heatmap, unverified"

SCORE = [
    "Probability of cancer: 73.21 %",
    "Probability of benign: 26.79 %",
    "Threshold: 41.00 %",
]
GREEN, YELLOW = (0, 255, 0), (255, 255, 0)
BANDS = ((0.3, 0.5), (0.5, 0.7), (0.7, 1.01))


@dataclass(frozen=True)
class Study:
    """An image with its results, opened in OHIF.

    frames: ``(n, rows, columns, 3)`` RGB of the image.
    """

    name: str
    viewer: Any
    image: Dataset
    frames: NDArray[np.uint8]
    finding: Finding
    overlay: NDArray[np.uint8]
    report: Dataset
    segmentation: Dataset

    @property
    def frame(self) -> NDArray[np.uint8]:
        """The one that was scored."""
        return self.frames[self.finding.frame - 1]

    def reached(self, level: float) -> NDArray[np.bool_]:
        """``(rows, columns)``: where in the frame the CAM is at least so high."""
        box = self.finding.region
        whole = np.zeros(self.frame.shape[:2], dtype=np.bool_)
        whole[box.top : box.bottom, box.left : box.right] = self.finding.cam >= level
        return whole


@pytest.fixture(scope="module", params=["cine", "breast"])
def study(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    shared_orthanc: Any,
    open_viewer: Callable[[], Any],
) -> Iterator[Study]:
    """cine: pydicom's example of 30 frames. breast: a real still image, if the data are here."""
    if request.param == "cine":
        path, number, box = get_testdata_file("examples_ybr_color.dcm"), 11, Box(98, 27, 227, 203)
    else:
        path = request.getfixturevalue("us_dicom") / "breast" / "uta4_p1_d045f565_IM128.dcm"
        number, box = 1, Box(60, 40, 330, 390)
    image = dcmread(path)
    frames = [decode_frame(image, each + 1) for each in range(number_of_frames(image))]
    finding = Finding(
        frame=number,
        frames_scored=len(frames),
        region=box,
        region_source="ultrasound region",
        probability_malignant=0.7321,
        probability_benign=0.2679,
        threshold=0.41,
        cam=hot_spot(box.height, box.width),
    )
    overlay = draw_overlay(frames[number - 1], finding, MODEL)
    results = every_result(image, finding, overlay)
    folder = tmp_path_factory.mktemp(request.param)
    files = [Path(path)]
    for number, result in enumerate(results.values()):
        files.append(folder / f"{number}.dcm")
        files[-1].write_bytes(part10_bytes(result))
    pacs = Peer("127.0.0.1", shared_orthanc.port, shared_orthanc.ae_title)
    assert all(outcome.status == 0 for outcome in send_files(files, pacs, "TESTS"))
    with open_viewer() as viewer:
        viewer.open_study(image.StudyInstanceUID)
        yield Study(
            request.param,
            viewer,
            image,
            np.stack(frames),
            finding,
            overlay,
            results[REPORT],
            results[HEATMAP],
        )


def every_result(
    image: Dataset, finding: Finding, overlay: NDArray[np.uint8]
) -> dict[str, Dataset]:
    """All that we make of an image, by the name of its series."""
    dated: Any = {"revision": 0, "started_at": STARTED_AT}
    report = build_report(image, finding, MODEL, **dated)
    capture = build_secondary_capture(image, overlay, finding, MODEL, **dated)
    shown = [reference_to(capture), reference_to(report)]
    scored = Scored(
        finding.frame,
        finding.frames_scored,
        finding.probability_malignant,
        finding.threshold,
        finding.decision,
        finding.region,
        finding.unlike_training,
    )
    result = ImageResult(image, scored, MODEL, reference_to(report))
    results = [
        report,
        capture,
        build_segmentation(image, finding, MODEL, **dated),
        build_presentation_state(image, finding, MODEL, **dated),
        build_key_objects(image, finding, MODEL, shown, **dated),
        build_study_report([result], number=0, with_reports=True, started_at=STARTED_AT),
    ]
    return {result.SeriesDescription: result for result in results if result is not None}


def hot_spot(height: int, width: int) -> NDArray[np.float32]:
    """A CAM with one round hot spot, ``(height, width)``, 0 far from it and 1 at its top."""
    rows, columns = np.mgrid[:height, :width]
    distance = ((columns / width - 0.6) / 0.15) ** 2 + ((rows / height - 0.45) / 0.2) ** 2
    cam = np.exp(-distance)
    cam[cam < 0.02] = 0
    return (cam / cam.max()).astype(np.float32)


def likeness(shown: NDArray[np.uint8] | None, expected: NDArray[np.uint8]) -> float:
    """Pearson's correlation of the two pictures; 0 if nothing is shown.

    Of the medians of 4 × 4 pixels, in which the thin lines and letters over the image vanish.
    """
    if shown is None or not shown.any():
        return 0.0
    return float(np.corrcoef(coarse(shown).ravel(), coarse(expected).ravel())[0, 1])


def coarse(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    rows, columns = picture.shape[0] // 4, picture.shape[1] // 4
    blocks = picture[: 4 * rows, : 4 * columns].reshape(rows, 4, columns, 4, 3)
    return np.asarray(np.median(blocks, axis=(1, 3)))


def wait_for_picture(viewer: Any, expected: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Until the viewport shows the picture; what it then shows, at the picture's size."""
    rows, columns = expected.shape[:2]
    shown: list[NDArray[np.uint8] | None] = []

    def is_shown() -> bool:
        shown.append(viewer.picture(rows, columns))
        return likeness(shown[-1], expected) > 0.95

    viewer.wait_until(is_shown)
    assert shown[-1] is not None
    return shown[-1]


def test_study_list_names_the_kinds_of_results(
    study: Study, open_viewer: Callable[[], Any]
) -> None:
    with open_viewer() as viewer:
        row = viewer.study_row(str(study.image.PatientName))
    assert r"KO\OT\PR\SEG\SR\US" in row


def test_each_result_is_a_series_with_its_name(study: Study) -> None:
    named = {f"SR {REPORT}", f"SR {SUMMARY}", f"OT {OVERLAY}", f"SEG {HEATMAP}"}
    study.viewer.wait_until(lambda: named <= set(study.viewer.series()))


def test_image_is_drawn(study: Study) -> None:
    wait_for_picture(study.viewer, study.frames[0])


def test_overlay_shows_the_hot_spot_and_the_caption(study: Study) -> None:
    study.viewer.open_series(OVERLAY)
    overlay = study.overlay
    shown = wait_for_picture(study.viewer, overlay)
    study.viewer.keep_screenshot(f"{study.name}-overlay")
    rows = study.image.Rows
    assert likeness(shown[rows:], overlay[rows:]) > 0.9, "the caption strip"
    hot = study.reached(0.7)
    assert np.abs(shown[:rows][hot].astype(int) - overlay[:rows][hot]).mean() < 10
    red, green, blue = shown[:rows][hot].mean(axis=0)
    assert red > green > blue + 30, "inferno's upper half"


def test_report_shows_the_score_beside_the_box_and_the_contour(study: Study) -> None:
    viewer = study.viewer
    viewer.open_series(REPORT)
    viewer.answer("Do you want to continue tracking measurements", "yes")
    shown = wait_for_picture(viewer, study.frame)
    viewer.wait_until(lambda: viewer.captions()[:3] == SCORE)
    viewer.keep_screenshot(f"{study.name}-report")
    alike = [likeness(shown, frame) for frame in study.frames]
    assert int(np.argmax(alike)) == study.finding.frame - 1
    placement = viewer.placement()
    drawn = {len(points): points for points in viewer.outlines()}
    box, contour = regions(study.report)
    for outline in (box, contour):
        distance = np.hypot(*(drawn[len(outline)] - placement.of(outline)).T)
        assert distance.max() <= placement.scale.max(), "at most one pixel of the image"
    screen = viewer.viewport()
    assert share_in_colour(screen, placement.of(box), GREEN) > 0.4
    assert share_in_colour(screen, placement.of(contour), YELLOW) > 0.4


def test_heatmap_can_be_switched_on_and_off(study: Study) -> None:
    viewer = study.viewer
    viewer.open_series(HEATMAP)
    viewer.answer("Do you want to open this Segmentation", "yes")
    viewer.part("panelSegmentation-btn").click()
    labels = [item.SegmentLabel for item in study.segmentation.SegmentSequence]
    viewer.wait_until(lambda: viewer.part("data-row-title").all_text_contents() == labels)
    bands = [study.reached(low) & ~study.reached(high) for low, high in BANDS]
    plain, size = study.frame, study.frame.shape[:2]

    def coloured() -> list[bool]:
        """Of each band: whether most of it is no longer grey tissue as in the image."""
        shown = viewer.picture(*size)
        return [np.mean(changed(shown, plain)[band]) > 0.8 for band in bands]

    viewer.wait_until(lambda: coloured() == [True, True, True])
    viewer.keep_screenshot(f"{study.name}-heatmap")
    outside = ~study.reached(0.25)
    assert np.mean(changed(viewer.picture(*size), plain)[outside]) < 0.02
    named = [panel_colour(row) for row in viewer.part("data-row-colorhex").all()]
    shown = viewer.picture(*size)
    for band, colour in zip(bands, named, strict=True):
        tint = shown[band].astype(float).mean(axis=0) - plain[band].astype(float).mean(axis=0)
        assert np.corrcoef(tint, colour)[0, 1] > 0.9, "the band has the colour that its row has"

    viewer.part("data-row-visibility-toggle").first.click()
    viewer.wait_until(lambda: coloured() == [False, True, True])
    viewer.part("data-row-visibility-toggle").first.click()
    viewer.wait_until(lambda: coloured() == [True, True, True])
    viewer.part("all-segments-visibility-toggle").click()
    viewer.wait_until(lambda: coloured() == [False, False, False])
    assert likeness(viewer.picture(*size), plain) > 0.95
    viewer.keep_screenshot(f"{study.name}-heatmap-off")
    viewer.part("all-segments-visibility-toggle").click()
    viewer.wait_until(lambda: coloured() == [True, True, True])


def test_study_summary_shows_the_score_beside_the_box(
    study: Study, open_viewer: Callable[[], Any]
) -> None:
    """On a page of its own, which tracks no measurements yet."""
    with open_viewer() as viewer:
        viewer.open_study(study.image.StudyInstanceUID)
        wait_for_picture(viewer, study.frames[0])
        viewer.open_series(SUMMARY)
        viewer.answer("Do you want to continue tracking measurements", "yes")
        wait_for_picture(viewer, study.frame)
        viewer.wait_until(lambda: viewer.captions()[:3] == SCORE)
        placement = viewer.placement()
        box = regions(study.report)[0]
        (drawn,) = [points for points in viewer.outlines() if len(points) == len(box)]
        assert np.hypot(*(drawn - placement.of(box)).T).max() <= placement.scale.max()


def changed(shown: NDArray[np.uint8], plain: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """``(rows, columns)``: where the colour is another one."""
    return np.abs(shown.astype(int) - plain).max(axis=2) > 25


def panel_colour(row: Any) -> list[int]:
    """Of the dot before a segment's name, from ``rgb(204, 66, 72)``."""
    text = row.evaluate("dot => getComputedStyle(dot).backgroundColor")
    return [int(number) for number in re.findall(r"\d+", text)]


def regions(report: Dataset) -> list[NDArray[np.float64]]:
    """The report's SCOORDs in their order, each ``(n, 2)`` columns and rows."""
    found = []
    for item in report.get("ContentSequence", ()):
        if item.ValueType == "SCOORD":
            found.append(np.array(item.GraphicData, dtype=np.float64).reshape(-1, 2))
        found += regions(item)
    return found


def share_in_colour(
    screen: NDArray[np.uint8], outline: NDArray[np.float64], colour: tuple[int, int, int]
) -> float:
    """Of the points along the outline, those that have the colour; a dashed line has half."""
    close = np.abs(screen.astype(int) - colour).max(axis=2) < 100
    near = np.pad(close, 1)
    wide = np.max([np.roll(near, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=0)
    steps = np.linspace(0, 1, 200)[:, None]
    points = np.concatenate([a + steps * (b - a) for a, b in pairwise(outline)])
    columns, rows = np.round(points).astype(int).T
    return float(wide[rows + 1, columns + 1].mean())
