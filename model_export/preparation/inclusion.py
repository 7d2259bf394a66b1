"""Which images are in the study: the rules of Mao et al. 2026, as pure functions.

BI-RADS 3, 4A, 4B or 4C with definite pathology; of a patient's lesions only the one with the
highest category, with all its images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from model_export.preparation.clinical import ClinicalRow

BIRADS = ("3", "4a", "4b", "4c")
"""The paper's categories."""


@dataclass(frozen=True)
class Assessed:
    """One file of the image folder, and why it is left out.

    file: relative to the folder. row: what the clinical table says, None if it says nothing or
    more than one thing. reason: code, None for an image of the study. digest: of the cropped
    pixels, as far as they were needed.
    """

    file: str
    row: ClinicalRow | None = None
    reason: str | None = None
    digest: bytes | None = None


def clinical_reason(rows: Sequence[ClinicalRow], birads: Sequence[str]) -> str | None:
    """Why the table's rows for one image leave it out; None lets it pass.

    birads: the categories of the study.
    """
    if not rows:
        return "no-clinical-row"
    if len(rows) > 1:
        return "several-clinical-rows"
    row = rows[0]
    if not row.birads:
        return "no-birads"
    if row.birads not in birads:
        return "birads-not-included"
    if row.label is None:
        return "no-definite-pathology"
    return None


def exclude_duplicates(images: Sequence[Assessed]) -> list[Assessed]:
    """Of images with the same pixels keep the first by name; none if they are of two patients."""
    same: dict[bytes, list[Assessed]] = defaultdict(list)
    for image in images:
        if image.reason is None and image.digest is not None:
            same[image.digest].append(image)
    reasons: dict[str, str] = {}
    for group in same.values():
        if len({image.row.patient for image in group if image.row}) > 1:
            reasons |= {image.file: "picture-of-two-patients" for image in group}
        else:
            names = sorted(image.file for image in group)
            reasons |= dict.fromkeys(names[1:], "duplicate-picture")
    return _excluded(images, reasons)


def exclude_other_lesions(images: Sequence[Assessed]) -> list[Assessed]:
    """Of each patient keep the images of one lesion.

    It is the lesion, among those that are left, with the highest BI-RADS category; of several the
    one with the larger diameter (one without a diameter comes last); of several the first
    ``lesion_id`` in the order of text.
    """
    lesions: dict[str, dict[str, list[ClinicalRow]]] = defaultdict(lambda: defaultdict(list))
    for image in images:
        if image.reason is None and image.row is not None:
            lesions[image.row.patient][image.row.lesion].append(image.row)
    chosen = {patient: _foremost(found) for patient, found in lesions.items()}
    return _excluded(
        images,
        {
            image.file: "other-lesion"
            for image in images
            if image.reason is None and image.row and image.row.lesion != chosen[image.row.patient]
        },
    )


def _foremost(lesions: Mapping[str, Sequence[ClinicalRow]]) -> str:
    def rank(lesion: str) -> tuple[str, float]:
        rows = lesions[lesion]
        return max(row.birads for row in rows), max(row.diameter_mm or 0 for row in rows)

    # Sorted first: of equal ones, max takes the first.
    return max(sorted(lesions), key=rank)


def _excluded(images: Sequence[Assessed], reasons: Mapping[str, str]) -> list[Assessed]:
    return [
        replace(image, reason=reasons[image.file]) if image.file in reasons else image
        for image in images
    ]
