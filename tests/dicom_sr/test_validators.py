"""Every object for every real file, as independent tools judge it.

dciodvfy (IODs), dcentvfy (one patient, study and series in all of them), dsrdump and dsr2html
(content trees), dcmpschk (presentation states), PixelMed (templates), and our own check at run
time. No errors are expected but the one that is named here, and those about a source's own
malformed UIDs, which a result must quote as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)

from dicom_sr.content_constraints import DOCUMENT_CLASSES
from dicom_sr.finding import Finding, ModelIdentity, NotAnalysed
from dicom_sr.key_objects import build_key_objects
from dicom_sr.overlay import draw_overlay
from dicom_sr.part10 import part10_bytes
from dicom_sr.presentation_state import build_presentation_state
from dicom_sr.reference import reference_to
from dicom_sr.rejection_note import RejectionReason, build_rejection_note
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from dicom_sr.segmentation import build_segmentation
from dicom_sr.study_report import ImageResult, Scored, build_study_report
from dicom_sr.validity import problems
from dicom_sr.variant import Variant, as_variant

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

JPEG_XL = "1.2.840.10008.1.2.4.111"
NOT_ANALYSED = NotAnalysed("undecodable", "The pixel data cannot be decoded.")
WITHDRAWN = NotAnalysed("withdrawn-quality", "The result was withdrawn.")

MALIGNANT_REPORT = "report: malignant"
BENIGN_REPORT = "report: benign, without a heatmap"
NOT_ANALYSED_REPORT = "report: not analysed"
WITHDRAWN_REPORT = "report: withdrawn"
COMPREHENSIVE_REPORT = "report: malignant, as Comprehensive SR"
ENHANCED_REPORT = "report: malignant, as Enhanced SR"
STATE = "presentation state"
KEY_OBJECTS = "key objects"

SCORES = {
    MALIGNANT_REPORT: "73.21",
    BENIGN_REPORT: "12.0",
    COMPREHENSIVE_REPORT: "73.21",
    ENHANCED_REPORT: "73.21",
    "study report 0, with reports": "73.21",
    "study report 0, alone": "73.21",
    "study report 1, with reports": "73.21",
    "study report 1, alone": "73.21",
}
"""What the documents with a score must show, in %."""

REJECTION = "The probe was on the phantom."
NOT_FROM_AI = {f"rejection note: {reason}": REJECTION for reason in RejectionReason}
"""What a person said."""

# CID 100 of PS3.16 is extensible, and its procedures are those of radiology as a whole.
PROCEDURE = 'Code (47079000,SCT,"Ultrasonography of breast") not found in context group 100'
# TID 1410 of PS3.16 is extensible.
FURTHER_ITEMS = (
    'CODE (111005,DCM,"Assessment Category"): Content Item not in template',
    'COMPOSITE (126000,DCM,"Imaging Measurement Report"): Content Item not in template',
)


@dataclass(frozen=True)
class Results:
    """A real file, and all that can be made for it, by what it is.

    folder: the objects as files; path(name) finds one.
    wrong_uids: those of the source.
    """

    source: Dataset
    objects: dict[str, Dataset]
    folder: Path
    wrong_uids: list[str]

    def path(self, name: str) -> Path:
        return self.folder / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.dcm"

    @property
    def documents(self) -> dict[str, Dataset]:
        return {
            name: each
            for name, each in self.objects.items()
            if each.SOPClassUID in DOCUMENT_CLASSES
        }


def every_object(
    source: Dataset, finding: Finding, benign: Finding, model: ModelIdentity, started_at: datetime
) -> dict[str, Dataset]:
    """benign: without a heatmap. The reports on one image are editions, each with its own UID."""
    now = {"revision": 0, "started_at": started_at}
    size = source.Rows, source.Columns, 3
    overlay = draw_overlay(np.full(size, 90, np.uint8), finding, model)
    report = build_report(source, finding, model, **now)
    capture = build_secondary_capture(source, overlay, finding, model, **now)
    results = [reference_to(capture), reference_to(report)]
    segmentation = build_segmentation(source, finding, model, **now)
    state = build_presentation_state(source, finding, model, **now)
    assert segmentation is not None
    assert state is not None
    again = {**now, "edition": 1}
    objects = {
        MALIGNANT_REPORT: report,
        BENIGN_REPORT: build_report(source, benign, model, **again),
        NOT_ANALYSED_REPORT: build_report(source, NOT_ANALYSED, model, **now),
        WITHDRAWN_REPORT: build_report(
            source, WITHDRAWN, model, **again, predecessor=reference_to(report)
        ),
        "overlay: malignant": capture,
        "overlay: benign, without a heatmap": build_secondary_capture(
            source, draw_overlay(np.full(size, 90, np.uint8), benign, model), benign, model, **again
        ),
        "segmentation": segmentation,
        STATE: state,
        KEY_OBJECTS: build_key_objects(source, finding, model, results, **now),
    }
    if source.SOPClassUID != SecondaryCaptureImageStorage:
        # A form for a destination takes Secondary Captures for ours; none is ever analysed.
        objects[COMPREHENSIVE_REPORT] = as_variant(report, Variant(ComprehensiveSRStorage))
        objects[ENHANCED_REPORT] = as_variant(report, Variant(EnhancedSRStorage))
    for reason in RejectionReason:
        objects[f"rejection note: {reason}"] = build_rejection_note(
            source, results, model, reason, REJECTION, **now
        )
    for number in (0, 1):
        for with_reports in (True, False):
            name = f"study report {number}, {'with reports' if with_reports else 'alone'}"
            objects[name] = build_study_report(
                [ImageResult(source, _scored(finding), model, reference_to(report))],
                number=number,
                with_reports=with_reports,
                started_at=started_at,
            )
    return objects


def _scored(finding: Finding) -> Scored:
    return Scored(
        finding.frame,
        finding.frames_scored,
        finding.probability_malignant,
        finding.threshold,
        finding.decision,
        finding.region,
        finding.unlike_training,
    )


@pytest.fixture(scope="module")
def results(
    ultrasound_path: Path,
    model: ModelIdentity,
    started_at: datetime,
    finding_in: Callable[..., Finding],
    wrong_uids: Callable[[Dataset], list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Results:
    source = pydicom.dcmread(ultrasound_path, stop_before_pixels=True)
    finding = finding_in(source)
    benign = finding_in(
        source,
        probability_malignant=0.12,
        probability_benign=0.88,
        cam=np.zeros_like(finding.cam),
    )
    objects = every_object(source, finding, benign, model, started_at)
    folder = tmp_path_factory.mktemp(ultrasound_path.stem)
    made = Results(source, objects, folder, wrong_uids(source))
    for name, data_set in objects.items():
        made.path(name).write_bytes(part10_bytes(data_set))
    return made


def test_the_check_at_run_time_finds_no_problem(results: Results) -> None:
    found = {name: problems(each, results.source) for name, each in results.objects.items()}
    assert found == {name: [] for name in results.objects}


def test_dciodvfy_finds_no_error(
    results: Results, our_errors: Callable[[Dataset, Dataset], list[str]]
) -> None:
    found = {name: our_errors(results.source, each) for name, each in results.objects.items()}
    assert found == {name: [] for name in results.objects}


def test_dcentvfy_finds_one_patient_and_study(
    results: Results, ultrasound_path: Path, run_tool: Callable[..., str]
) -> None:
    image = ultrasound_path
    if results.source.file_meta.TransferSyntaxUID == JPEG_XL:
        # dcentvfy cannot read past such pixels.
        image = results.folder / "source.dcm"
        header = pydicom.dcmread(ultrasound_path, stop_before_pixels=True)
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.save_as(image)
    paths = [str(results.path(name)) for name in results.objects]
    said = run_tool("dcentvfy", str(image), *paths)
    assert [line for line in said.splitlines() if _is_fault(line)] == []


def _is_fault(line: str) -> bool:
    """An error, but for a date or a time that the source writes in the manner of ACR-NEMA."""
    if not line.startswith("Error"):
        return False
    old = re.search(r"Element=<Study(?:Date|Time)>.* Value 1 <([\d.:]+)> versus <([\d.]+)>", line)
    return old is None or old[1].replace(":", ".").replace(".", "") != old[2].replace(".", "")


def test_dsrdump_reads_every_document_and_shows_the_score_by_name(
    results: Results, run_tool: Callable[..., str]
) -> None:
    accept_invalid_values = ["-Ev"] if results.wrong_uids else []
    for name in results.documents:
        printed = run_tool("dsrdump", "+Pl", *accept_invalid_values, str(results.path(name)))
        assert [line for line in printed.splitlines() if line.startswith("E:")] == [], name
        said = NOT_FROM_AI.get(name, "Unverified AI result, for research use only.")
        assert said in printed, name
        shown = re.search(r'"Probability of cancer"\)="([\d.]+)" \(%,UCUM,"Percent"\)', printed)
        assert (shown[1] if shown else None) == SCORES.get(name), name


def test_dsr2html_reads_every_document_and_shows_the_score_by_name(
    results: Results, run_tool: Callable[..., str]
) -> None:
    accept_invalid_values = ["-Ev"] if results.wrong_uids else []
    for name in results.documents:
        printed = run_tool("dsr2html", *accept_invalid_values, str(results.path(name)))
        assert "</html>" in printed, name
        assert [line for line in printed.splitlines() if line.startswith("E:")] == [], name
        shown = re.search(r"<b>Probability of cancer:</b><br>\s*<span[^>]*>([\d.]+) %<", printed)
        assert (shown[1] if shown else None) == SCORES.get(name), name


def test_dcmpschk_passes_the_presentation_state(
    results: Results, run_tool: Callable[..., str]
) -> None:
    said = run_tool("dcmpschk", "-v", str(results.path(STATE)))
    rejected = set(re.findall(r"Attribute value\s*: \[(.*)\]", said))
    assert rejected <= set(results.wrong_uids)
    assert rejected or "Test passed" in said
    # It knows no colour states.
    skipped = "Not a Grayscale Softcopy Presentation State, skipping pass 3" in said
    grayscale = results.objects[STATE].SOPClassUID == GrayscaleSoftcopyPresentationStateStorage
    assert skipped is not grayscale


def test_pixelmed_finds_no_error_but_the_code_of_the_procedure(
    results: Results, pixelmed_complaints: Callable[[Dataset], list[str]]
) -> None:
    for name, document in results.documents.items():
        said = pixelmed_complaints(document)
        errors = [line for line in said if line.startswith("Error")]
        warnings = [line for line in said if line.startswith("Warning")]
        if name == KEY_OBJECTS or name.startswith("rejection note"):
            assert said == [], name
        else:
            assert [line.endswith(PROCEDURE) for line in errors] == [True], (name, errors)
            assert all(line.endswith(FURTHER_ITEMS) for line in warnings), (name, warnings)
            leads_to_report = name.startswith("study") and name.endswith("with reports")
            assert len(warnings) == (name in SCORES) + leads_to_report, (name, warnings)
