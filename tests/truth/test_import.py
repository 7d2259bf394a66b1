"""Diagnoses from a table: what becomes of each row, and what is told of it."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from service.audit.messages import pseudonym
from service.journal.truth_records import Diagnosis, Source, Subject
from service.truth.table import TableError, read_table

TODAY = date(2026, 6, 1)


def rows(folder: Path, text: str | bytes) -> list:
    file = folder / "table.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_table(file, "me", TODAY))


def test_each_row_is_told_what_became_of_it(site) -> None:
    site.analysed(1, 0.9)
    site.analysed(2, 0.1)
    table = site.table(
        "1.2.900.1,malignant,2026-03-09,surgery",
        "1.2.900.2,Benign,20260309,biopsy",
        "1.2.900.99,benign,2026-03-09,biopsy",
        "1.2.900.1,perhaps,2026-03-09,surgery",
    )
    first = site.secondread("truth", "import", table)
    assert first.returncode == 1
    assert first.stdout == "2 taken, 0 unchanged, 0 corrected, 0 older, 1 unknown, 1 bad\n"
    assert first.stderr.splitlines() == [
        "line 4: unknown: no such study or image was received",
        "line 5: bad: diagnosis is none of benign, malignant",
    ]
    assert site.journal.truth_history("1.2.900.2")[-1].diagnosis is Diagnosis.BENIGN

    site.table("1.2.900.1,benign,2026-03-10,surgery", "1.2.900.2,benign,2026-03-09,biopsy")
    again = site.secondread("truth", "import", table, "--json")
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert [row["outcome"] for row in told["rows"]] == ["corrected", "unchanged"]
    assert told["counts"]["corrected"] == 1


def test_what_holds_from_now_on_is_in_the_audit_trail(site) -> None:
    site.analysed(1, 0.9)
    head = "sop_instance_uid,diagnosis,date,source"
    for row in ("malignant,2026-03-09", "malignant,2026-03-09", "benign,2026-03-10"):
        site.secondread("truth", "import", site.table(f"1.2.1.1,{row},surgery", head=head))
    [file] = site.settings.audit_dir.glob("*.jsonl")
    messages = [json.loads(line) for line in file.read_text().splitlines()]
    assert [
        each["EventIdentification"]["EventOutcomeDescription"]["text"] for each in messages
    ] == [
        "pathology: taken",
        "pathology: corrected",
    ]
    for message in messages:
        (study,) = message["ParticipantObjectIdentification"]
        assert study["ParticipantObjectID"] == pseudonym("1.2.900.1")
        (images,) = study["ParticipantObjectDescription"]["SOPClass"]
        assert images["Instance"] == [{"UID": pseudonym("1.2.1.1")}]


def test_a_later_date_holds_unless_one_insists(site) -> None:
    site.analysed(1, 0.9)
    site.secondread("truth", "import", site.table("1.2.900.1,malignant,2026-03-09,surgery"))
    earlier = site.table("1.2.900.1,benign,2026-03-01,biopsy")
    left = site.secondread("truth", "import", earlier)
    assert left.returncode == 0
    assert "line 2: older: a diagnosis of a later date holds" in left.stderr
    assert site.secondread("truth", "import", earlier, "--replace").returncode == 0
    assert site.journal.truth_history("1.2.900.1")[-1].diagnosis is Diagnosis.BENIGN


def test_nothing_of_a_row_is_repeated(site) -> None:
    site.analysed(1, 0.9)
    table = site.table(
        "1.2.900.99,benign,2026-03-09,biopsy,DOE^JANE",
        "DOE^JANE,benign,2026-03-09,biopsy,x",
        "1.2.900.1,DOE^JANE,2026-03-09,biopsy,x",
        "1.2.900.1,benign,DOE^JANE,biopsy,x",
        "1.2.900.1,benign,2026-03-09,DOE^JANE,x",
        head="study_instance_uid,diagnosis,date,source,name",
    )
    for options in ([], ["--json"]):
        told = site.secondread("truth", "import", table, *options)
        assert told.returncode == 1
        assert "DOE" not in told.stdout + told.stderr
        assert "1.2.900" not in told.stdout + told.stderr
    assert site.journal.truth_history("1.2.900.1") == []


def test_what_is_no_such_table_is_one_line(site) -> None:
    site.analysed(1, 0.9)
    wrong = site.table("1.2.900.1,benign", head="uid,diagnosis")
    told = site.secondread("truth", "import", wrong)
    assert told.returncode == 2
    assert "lacks study_instance_uid or sop_instance_uid, date, source" in told.stderr
    missing = site.secondread("truth", "import", site.folder / "nowhere.csv")
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1
    assert "No such file" in missing.stderr


def test_without_a_journal_it_says_so(tmp_path: Path, site) -> None:
    table = site.table("1.2.900.1,benign,2026-03-09,biopsy")
    (site.settings.data_dir / "journal.sqlite3").unlink()
    told = site.secondread("truth", "import", table)
    assert told.returncode == 2
    assert "there is no journal" in told.stderr


def test_an_image_may_have_its_own_and_excels_marks_are_understood(tmp_path: Path) -> None:
    text = (
        "\ufeffsop_instance_uid;study_instance_uid; diagnosis;date;source\r\n"
        "1.2.3;1.2;benign;2026-03-09;follow-up\r\n;1.2;malignant;2026-03-09;surgery\r\n;;;;\r\n"
    )
    of_image, of_study = rows(tmp_path, text)
    assert (of_image.truth.subject, of_image.truth.uid) == (Subject.IMAGE, "1.2.3")
    assert (of_image.truth.source, of_image.truth.teller) == (Source.FOLLOW_UP, "me")
    assert (of_study.truth.subject, of_study.truth.uid) == (Subject.STUDY, "1.2")


HEAD = "study_instance_uid,diagnosis,date,source\n"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",benign,2026-03-09,biopsy", "it has no UID"),
        ("1.2.x,benign,2026-03-09,biopsy", "the UID is none"),
        ("1." + "2" * 64 + ",benign,2026-03-09,biopsy", "the UID is none"),
        ("1.2,benign,9.3.2026,biopsy", "the date is none"),
        (f"1.2,benign,{TODAY + timedelta(days=2)},biopsy", "still to come"),
        ("1.2,,2026-03-09,biopsy", "diagnosis is none of"),
        ("1.2,benign,2026-03-09", "source is none of"),
    ],
)
def test_a_bad_row_says_which_value_it_is(tmp_path: Path, row: str, reason: str) -> None:
    [told] = rows(tmp_path, HEAD + row)
    assert told.truth is None
    assert told.line == 2
    assert reason in told.reason


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00\x01", HEAD.encode() + b"\xe9,benign", HEAD.encode() + b"x" * 200_000],
    ids=["empty", "no text", "latin-1", "a field without end"],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TableError):
        rows(tmp_path, content)
