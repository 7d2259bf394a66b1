"""The same input gives the same bytes, in whichever process it is made."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import hashlib
from datetime import UTC, datetime

import numpy as np
from pydicom.dataset import Dataset

from dicom_sr.finding import Box, Finding, ModelIdentity, NotAnalysed
from dicom_sr.identity import ResultKind
from dicom_sr.key_objects import build_key_objects
from dicom_sr.overlay import draw_overlay
from dicom_sr.part10 import part10_bytes
from dicom_sr.presentation_state import build_presentation_state
from dicom_sr.reference import reference_to
from dicom_sr.rejection_note import RejectionReason, build_rejection_note
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from dicom_sr.segmentation import build_segmentation
from dicom_sr.variant import CharacterSetPolicy, Variant, as_variant

source = Dataset()
source.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
source.SOPInstanceUID, source.StudyInstanceUID, source.SeriesInstanceUID = "1.1", "1.2", "1.3"
source.PatientName = "Doe^Jane"
source.Rows, source.Columns = 120, 160
source.PhotometricInterpretation = "RGB"
cam = np.random.default_rng(1).random((80, 100), dtype=np.float32)
finding = Finding(1, 1, Box(10, 10, 110, 90), "content box", 0.7, 0.3, 0.5, cam)
model = ModelIdentity("model", "1", "c" * 64)
when = {"revision": 0, "started_at": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)}
overlay = draw_overlay(np.full((120, 160, 3), 90, np.uint8), finding, model)
report = build_report(source, finding, model, **when)
referred = [reference_to(report)]
wishes = {ResultKind.REPORT: 7, ResultKind.KEY_OBJECTS: 8, ResultKind.SEGMENTATION: 9}
variant = Variant(
    character_set=CharacterSetPolicy.UTF_8, series_numbers=tuple(wishes.items())
)
results = [
    report,
    build_report(source, NotAnalysed("code", "Text."), model, **when),
    build_secondary_capture(source, overlay, finding, model, **when),
    build_segmentation(source, finding, model, **when),
    build_presentation_state(source, finding, model, **when),
    build_key_objects(source, finding, model, referred, **when),
    build_rejection_note(source, referred, model, RejectionReason.QUALITY, "Text.", **when),
]
for result in [*results, *(as_variant(each, variant) for each in results)]:
    print(hashlib.sha256(part10_bytes(result)).hexdigest())
"""


def test_two_processes_write_the_same_bytes() -> None:
    # Sets and dictionaries of strings are ordered by a hash that differs between the processes.
    digests = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert len(set(digests[0])) == 14
    assert digests[0] == digests[1]
