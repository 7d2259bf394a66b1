"""The clinical table: one row for each image, whatever its columns are called."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import TypeVar

from model_export.preparation import clinical_values
from model_export.preparation.clinical_values import Label, is_missing

_Value = TypeVar("_Value")

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "file": ("filename", "file_name", "image", "image_file", "path"),
    "sop_instance_uid": ("sopinstanceuid", "sop_uid", "instance_uid"),
    "patient_id": ("patientid", "patient", "pid"),
    "lesion_id": ("lesionid", "lesion", "nodule_id", "nodule"),
    "birads": ("bi_rads", "birads_category", "bi_rads_category"),
    "pathology": ("histology", "histopathology", "diagnosis"),
    "label": ("class", "ground_truth"),
    "age": ("patient_age", "age_years"),
    "diameter_mm": ("diameter", "size_mm", "max_diameter_mm"),
    "side": ("laterality", "breast"),
    "device": ("scanner", "machine", "manufacturer_model_name"),
    "frame": ("frame_number",),
    "split": ("set", "subset"),
}
"""Each column and its other names. Case does not matter, nor do spaces, hyphens and dots."""

_MOST_MISTAKES = 10
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class ClinicalRow:
    """What the clinical table says of one image; an empty text or None where it says nothing.

    line: of the table's file, 1 for the heading. file: relative to the image folder.
    lesion: within the patient; without the column the patient's images are of one lesion.
    birads: ``3``, ``4a`` …. label: None if there is no definite pathology.
    age: years. diameter_mm: the lesion's largest. side: left or right. frame: 1-based.
    split: train, validation or test.
    """

    line: int
    file: str
    sop_instance_uid: str
    patient: str
    lesion: str
    birads: str
    label: Label | None
    pathology: str
    age: float | None
    diameter_mm: float | None
    side: str
    device: str
    frame: int | None
    split: str

    @property
    def lesion_key(self) -> tuple[str, str]:
        """Names the lesion among all patients'."""
        return (self.patient, self.lesion)


def read_clinical(path: Path) -> tuple[ClinicalRow, ...]:
    """Read a CSV in UTF-8 whose cells are parted by comma, semicolon or tab.

    Raises OSError, and ValueError that names the lines to mend: a column that is not there or is
    there twice, a cell that cannot be read, a lesion with two labels or two BI-RADS categories, a
    patient on two sides of the table's own split. No cell is quoted.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("the clinical table is not in UTF-8: save it as `CSV UTF-8`") from None
    heading = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=heading.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    places = _places(next(reader, []))
    rows: list[ClinicalRow] = []
    mistakes: list[str] = []
    for cells in reader:
        if any(cell.strip() for cell in cells):
            row = {
                name: cells[place].strip() if place < len(cells) else ""
                for name, place in places.items()
            }
            try:
                rows.append(_row(reader.line_num, row))
            except ValueError as error:
                mistakes.append(f"line {reader.line_num}: {error}")
    _raise(mistakes)
    _raise(_disagreements(rows))
    refuse_patients_on_both_sides((row.patient, row.split) for row in rows)
    return tuple(rows)


def refuse_patients_on_both_sides(parts: Iterable[tuple[str, str]]) -> None:
    """parts: patient and the part of the split in which it stands ("" where it is not said).

    Raises ValueError if a patient stands in two parts.
    """
    seen: dict[str, set[str]] = defaultdict(set)
    for patient, part in parts:
        if part:
            seen[patient].add(part)
    shared = sum(len(found) > 1 for found in seen.values())
    if shared:
        raise ValueError(
            f"{shared} patient{'s stand' if shared > 1 else ' stands'} on both sides of the "
            "split: give all images of a patient the same part"
        )


def rows_by_file(
    rows: Sequence[ClinicalRow], files: Mapping[str, str]
) -> dict[str, tuple[ClinicalRow, ...]]:
    """The rows that mean each file; a file without one is left out.

    files: path relative to the image folder to SOP Instance UID ("" if it has none). A row means a
    file by its relative path, by its bare name if no other file has it, or by the UID.
    """
    names: dict[str, list[str]] = defaultdict(list)
    uids: dict[str, list[str]] = defaultdict(list)
    for file, uid in files.items():
        names[PurePosixPath(file).name].append(file)
        if uid:
            uids[uid].append(file)
    found: dict[str, dict[int, ClinicalRow]] = defaultdict(dict)
    for row in rows:
        wanted = row.file.replace("\\", "/").removeprefix("./")
        meant = [wanted] if wanted in files else names.get(wanted, [])
        if len(meant) != 1:
            meant = uids.get(row.sop_instance_uid, [])
        for file in meant:
            found[file][row.line] = row
    return {file: tuple(by_line.values()) for file, by_line in found.items()}


def _places(heading: Sequence[str]) -> dict[str, int]:
    """Each known column's place. Raises ValueError."""
    meanings = {alias: name for name, aliases in COLUMNS.items() for alias in (name, *aliases)}
    places: dict[str, int] = {}
    for place, title in enumerate(heading):
        name = meanings.get(re.sub(r"[^a-z0-9]+", "_", title.strip().lower()).strip("_"))
        if name in places:
            raise ValueError(f"two columns of the clinical table mean {name}: rename one of them")
        if name is not None:
            places[name] = place
    for wanted in (("file", "sop_instance_uid"), ("patient_id",), ("birads",)):
        if not places.keys() & set(wanted):
            raise ValueError(f"the clinical table has no column {' or '.join(wanted)}")
    if not places.keys() & {"pathology", "label"}:
        raise ValueError("the clinical table has no column pathology or label")
    return places


def _row(line: int, cells: Mapping[str, str]) -> ClinicalRow:
    """cells: by column, only the columns that are there. Raises ValueError."""

    def value(column: str, read: Callable[[str], _Value], absent: _Value) -> _Value:
        text = cells.get(column, "")
        return absent if is_missing(text) else read(text)

    def text(column: str) -> str:
        return value(column, str, "")

    if not text("patient_id"):
        raise ValueError("patient_id is empty")
    if not text("file") and not text("sop_instance_uid"):
        raise ValueError("neither file nor sop_instance_uid is given")
    return ClinicalRow(
        line=line,
        file=text("file"),
        sop_instance_uid=text("sop_instance_uid"),
        patient=text("patient_id"),
        lesion=text("lesion_id"),
        birads=value("birads", clinical_values.birads, ""),
        label=_label(cells),
        pathology=text("pathology"),
        age=value("age", clinical_values.age, None),
        diameter_mm=value("diameter_mm", clinical_values.diameter, None),
        side=value("side", clinical_values.side, ""),
        device=text("device"),
        frame=value("frame", clinical_values.frame, None),
        split=value("split", clinical_values.split, ""),
    )


def _label(cells: Mapping[str, str]) -> Label | None:
    """From the label column, else from the pathology; None without a definite pathology.

    Where both columns are there, an empty pathology means that there was none. Raises ValueError.
    """
    pathology, label = cells.get("pathology"), cells.get("label", "")
    if pathology is not None and is_missing(pathology):
        return None
    told = clinical_values.label_of_pathology(pathology or "")
    if "label" not in cells:
        return told
    if is_missing(label):
        return None
    chosen = clinical_values.label(label)
    if told not in (None, chosen):
        raise ValueError("label and pathology contradict each other")
    return chosen


def _disagreements(rows: Sequence[ClinicalRow]) -> list[str]:
    """Lesions of which two rows say different things."""
    lesions: dict[tuple[str, str], list[ClinicalRow]] = defaultdict(list)
    for row in rows:
        lesions[row.lesion_key].append(row)
    said = []
    for images in lesions.values():
        lines = ", ".join(str(row.line) for row in images)
        for what, values in (
            ("labels", {row.label for row in images}),
            ("BI-RADS categories", {row.birads for row in images}),
        ):
            if len(values) > 1:
                said.append(
                    f"lines {lines}: one lesion with different {what} (tell lesions apart by "
                    "lesion_id)"
                )
    return said


def _raise(mistakes: Sequence[str]) -> None:
    if mistakes:
        more = len(mistakes) - _MOST_MISTAKES
        told = "; ".join(mistakes[:_MOST_MISTAKES])
        raise ValueError(f"clinical table, {told}{f'; and {more} more' if more > 0 else ''}")
