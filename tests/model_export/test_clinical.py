"""The clinical table: tolerant of how it is written, strict about what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from model_export.preparation import clinical_values
from model_export.preparation.clinical import COLUMNS, ClinicalRow, read_clinical, rows_by_file

Table = Callable[..., tuple[ClinicalRow, ...]]
HEAD = "file,patient_id,lesion_id,birads,pathology"


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """``table(line, …)``: read a clinical table of these lines."""

    def read(*lines: str, encoding: str = "utf-8") -> tuple[ClinicalRow, ...]:
        path = tmp_path / "clinical.csv"
        path.write_text("\n".join(lines) + "\n", encoding=encoding)
        return read_clinical(path)

    return read


def test_all_columns(table: Table) -> None:
    (row,) = table(
        ",".join(COLUMNS),
        "a.dcm,1.2.3,P1,L1,4A,malignant: carcinoma,malignant,57,12.5,left,Aplio,3,train",
    )
    assert row == ClinicalRow(
        line=2,
        file="a.dcm",
        sop_instance_uid="1.2.3",
        patient="P1",
        lesion="L1",
        birads="4a",
        label="malignant",
        pathology="malignant: carcinoma",
        age=57,
        diameter_mm=12.5,
        side="left",
        device="Aplio",
        frame=3,
        split="train",
    )


def test_case_aliases_semicolons_and_a_byte_order_mark(table: Table) -> None:
    (row,) = table(
        "File Name;PatientID;BI-RADS;Histology;Age (years);Laterality;remarks",
        "a.dcm;P1;BI-RADS 4a;Benign;057Y;R;nothing",
        "",
        encoding="utf-8-sig",
    )
    assert (row.file, row.patient, row.birads, row.label) == ("a.dcm", "P1", "4a", "benign")
    assert (row.side, row.age) == ("right", 57)


def test_commas_for_decimals_and_units(table: Table) -> None:
    (row,) = table(f"{HEAD};diameter".replace(",", ";"), "a;P1;;3;benign;12,5 mm")
    assert row.diameter_mm == 12.5


@pytest.mark.parametrize(
    ("pathology", "label"),
    [
        ("malignant", "malignant"),
        (" Benign ", "benign"),
        ("malignant: invasive ductal carcinoma", "malignant"),
        ("benign (fibroadenoma)", "benign"),
        ("benign, biopsy", "benign"),
        ("malignant?", None),
        ("suspicious for malignant", None),
        ("benign/malignant", None),
        ("benign, malignant not excluded", None),
        ("non-malignant", None),
        ("fibroadenoma", None),
        ("pending", None),
        ("", None),
        ("Not available", None),
    ],
)
def test_only_a_definite_pathology_is_a_label(
    pathology: str, label: str | None, table: Table
) -> None:
    (row,) = table(HEAD, f'a,P1,,3,"{pathology}"')
    assert row.label == label


@pytest.mark.parametrize(
    ("pathology", "given", "label"),
    [
        ("fibroadenoma", "0", "benign"),
        ("carcinoma", "malignant", "malignant"),
        ("", "malignant", None),
        ("carcinoma", "", None),
    ],
)
def test_a_label_needs_the_pathology_where_there_is_one(
    pathology: str, given: str, label: str | None, table: Table
) -> None:
    (row,) = table(f"{HEAD},label", f"a,P1,,3,{pathology},{given}")
    assert row.label == label


def test_a_label_alone_will_do(table: Table) -> None:
    (row,) = table("file,patient,birads,label", "a,P1,3,1")
    assert row.label == "malignant"


@pytest.mark.parametrize(
    ("text", "category"),
    [("3", "3"), ("4A", "4a"), ("BIRADS-4c", "4c"), ("bi-rads category 5", "5"), ("4", "4")],
)
def test_birads(text: str, category: str) -> None:
    assert clinical_values.birads(text) == category


@pytest.mark.parametrize("text", ["7", "3a", "4d", "four", "3 or 4a"])
def test_what_is_no_category(text: str) -> None:
    with pytest.raises(ValueError, match="birads is not a category"):
        clinical_values.birads(text)


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        ("file,patient_id,pathology", "a,P1,benign", "no column birads"),
        ("patient_id,birads,pathology", "P1,3,benign", "no column file or sop_instance_uid"),
        ("file,birads,pathology", "a,3,benign", "no column patient_id"),
        ("file,patient_id,birads", "a,P1,3", "no column pathology or label"),
        (f"{HEAD},histology", "a,P1,,3,benign,x", "two columns of the clinical table mean path"),
        (HEAD, "a,,,3,benign", "line 2: patient_id is empty"),
        (HEAD, ",P1,,3,benign", "line 2: neither file nor sop_instance_uid"),
        (HEAD, "a,P1,,Smith,benign", "line 2: birads is not a category"),
        (f"{HEAD},age", "a,P1,,3,benign,Smith", "line 2: age is not a number"),
        (f"{HEAD},age", "a,P1,,3,benign,157", "line 2: age is not between 0 and 120"),
        (f"{HEAD},age", "a,P1,,3,benign,inf", "line 2: age is not between 0 and 120"),
        (f"{HEAD},side", "a,P1,,3,benign,Smith", "line 2: side is not left or right"),
        (f"{HEAD},frame", "a,P1,,3,benign,0", "line 2: frame is not a number from 1 on"),
        (f"{HEAD},split", "a,P1,,3,benign,Smith", "line 2: split is not train"),
        (f"{HEAD},label", "a,P1,,3,benign,Smith", "line 2: label is not malignant"),
        (f"{HEAD},label", "a,P1,,3,benign,malignant", "line 2: label and pathology contradict"),
    ],
)
def test_a_mistake_names_the_line_and_no_content(
    head: str, line: str, message: str, table: Table
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        table(head, line)
    assert "Smith" not in str(raised.value)
    assert "P1" not in str(raised.value)


def test_all_mistakes_are_told_at_once(table: Table) -> None:
    with pytest.raises(ValueError, match=r"line 2: .*line 11: .*; and 3 more$"):
        table(HEAD, *(["a,,,3,benign"] * 13))


def test_a_lesion_says_one_thing(table: Table) -> None:
    with pytest.raises(ValueError, match="lines 2, 3: one lesion with different BI-RADS"):
        table(HEAD, "a,P1,,3,benign", "b,P1,,4a,benign")
    with pytest.raises(ValueError, match="lines 2, 4: one lesion with different labels"):
        table(HEAD, "a,P1,L1,3,benign", "b,P1,L2,3,malignant", "c,P1,L1,3,malignant")


def test_a_patient_on_both_sides_of_the_tables_own_split(table: Table) -> None:
    head = f"{HEAD},split"
    table(head, "a,P1,L1,3,benign,train", "b,P1,L2,3,benign,train", "c,P2,,3,benign,test")
    with pytest.raises(ValueError, match="1 patient stands on both sides"):
        table(head, "a,P1,L1,3,benign,train", "b,P1,L2,3,benign,test")
    with pytest.raises(ValueError, match="both sides"):
        table(head, "a,P1,L1,3,benign,train", "b,P1,L2,3,benign,validation")


def test_what_is_not_utf8_is_said(table: Table) -> None:
    with pytest.raises(ValueError, match="not in UTF-8"):
        table(HEAD, "a,Müller,,3,benign", encoding="latin-1")


def test_how_rows_and_files_meet(table: Table) -> None:
    rows = table(
        f"{HEAD},sop_instance_uid",
        "one/a.dcm,P1,,3,benign,",
        "two\\a.dcm,P2,,3,benign,",
        "b.dcm,P3,,3,benign,",
        "a.dcm,P4,,3,benign,",  # two files have this name
        ",P5,,3,benign,1.2.3",
        "c.dcm,P6,,3,benign,",
        "deep/c.dcm,P6,,3,benign,",
        "gone.dcm,P7,,3,benign,",
    )
    files = {"one/a.dcm": "", "two/a.dcm": "", "x/b.dcm": "", "d.dcm": "1.2.3", "e.dcm": "1.2.4"}
    found = rows_by_file(rows, files | {"deep/c.dcm": ""})
    assert {file: [row.line for row in rows] for file, rows in found.items()} == {
        "one/a.dcm": [2],
        "two/a.dcm": [3],
        "x/b.dcm": [4],
        "d.dcm": [6],
        "deep/c.dcm": [7, 8],
    }
