"""Table 1: t-test and χ² against figures worked out elsewhere."""

from __future__ import annotations

from dataclasses import replace

from model_export.preparation.clinical import ClinicalRow
from model_export.preparation.table_one import Patient, patients_of, table_one

PATIENT = Patient("train", "benign", "3", None, None, "", "")


def cells(patients: list[Patient]) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in table_one(patients).rows}


def group(part: str, label: str, number: int) -> list[Patient]:
    return [replace(PATIENT, part=part, label=label)] * number


def test_shares_by_chi_square() -> None:
    # 30/10 against 10/30: χ² = 80 (30·30 − 10·10)² / 40⁴ = 20, P = 7.7e-6.
    rows = cells(
        [
            *group("train", "benign", 20),
            *group("validation", "benign", 10),  # counts as training
            *group("train", "malignant", 10),
            *group("test", "benign", 10),
            *group("test", "malignant", 30),
        ]
    )
    assert rows["label"] == ("", "", "χ² = 20.00", "< 0.001")
    assert rows["label: benign"] == ("30 (75.0%)", "10 (25.0%)", "", "")
    assert rows["label: malignant"] == ("10 (25.0%)", "30 (75.0%)", "", "")


def test_means_by_welch() -> None:
    # Means 3 and 6, both SD 1.58: t = −3 / √(2.5/5 + 2.5/5) = −3.00 at 8 degrees, P = 0.0171.
    ages = [("train", age) for age in (1, 2, 3, 4, 5)] + [("test", age) for age in (4, 5, 6, 7, 8)]
    patients = [replace(PATIENT, part=part, age=age) for part, age in ages]
    rows = cells([*patients, replace(PATIENT, age=None)])
    assert rows["age, years"] == ("3.0 ± 1.6 (of 5)", "6.0 ± 1.6", "t = -3.00", "0.017")
    assert rows["diameter, mm"] == ("–", "–", "–", "–")


def test_what_cannot_be_tested_is_a_dash() -> None:
    rows = cells([replace(PATIENT, age=50)] * 4)
    assert rows["label"][2:] == ("–", "–")
    assert rows["age, years"][2:] == ("–", "–")
    assert "pathology" not in rows
    assert "side" not in rows


def test_rare_pathology_is_other() -> None:
    texts = ["Fibroadenoma"] * 3 + ["fibroadenoma"] * 2 + ["cyst", "lipoma"]
    rows = cells([replace(PATIENT, pathology=text) for text in texts])
    assert rows["pathology: fibroadenoma"][0] == "5 (71.4%)"
    assert rows["pathology: other"][0] == "2 (28.6%)"
    assert "pathology: cyst" not in rows


def row(line: int, patient: str, age: float | None = None, side: str = "") -> ClinicalRow:
    return ClinicalRow(
        line=line,
        file=f"{line}.png",
        sop_instance_uid="",
        patient=patient,
        lesion="",
        birads="4a",
        label="malignant",
        pathology="malignant",
        age=age,
        diameter_mm=None,
        side=side,
        device="",
        frame=None,
        split="",
    )


def test_a_patient_counts_once_however_many_images() -> None:
    rows = [row(2, "A"), row(3, "A", 50, "left"), row(4, "B", 60, "left"), row(5, "B", 60, "right")]
    first, second = patients_of(rows, {"A": "train", "B": "test"})
    assert (first.part, first.age, first.side) == ("train", 50, "left")
    assert (second.part, second.age, second.side) == ("test", 60, "")  # both sides: unknown
