"""Lesions from the header and from the operator, all the way to the study's summary."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from typer.testing import CliRunner, Result

from service.cli.lesion import lesion_app
from service.journal.records import StudyState

Command = Callable[..., Result]
WITHOUT_SUMMARIES = json.dumps(
    [{"name": "pacs", "host": "127.0.0.1", "port": 104, "ae_title": "PACS", "objects": ["sr"]}]
)


@pytest.fixture
def command(office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``command("link", key, key)``: at the office's own journal and spool."""
    for name in os.environ:
        if name.startswith("SECONDREAD_"):
            monkeypatch.delenv(name)
    configuration = tmp_path / "secondread.toml"
    configuration.write_text(
        f'data_dir = "{office.settings.data_dir}"\n'
        '[[destinations]]\nname = "pacs"\nhost = "127.0.0.1"\nport = 104\nae_title = "PACS"\n'
    )

    def run(name: str, *arguments: str, env: dict[str, str] | None = None) -> Result:
        call = [name, "--config", str(configuration), *arguments]
        return CliRunner().invoke(lesion_app, call, env=env)

    return run


def summary(office) -> Dataset:
    office.wait(3600)
    (parcel,) = office.summarise()
    return office.object(parcel, "summary.dcm")


def lesions(report: Dataset) -> dict[str, str]:
    """Tracking UID by name, of the groups that are about lesions."""
    measured = [
        group
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "126010"
        for group in item.ContentSequence
    ]
    names = {
        str(group.ContentSequence[0].TextValue): str(group.ContentSequence[1].UID)
        for group in measured
    }
    return {name: uid for name, uid in names.items() if name.startswith("Lesion")}


def test_annotated_views_are_fused_and_a_late_image_keeps_the_lesion(office) -> None:
    office.analysed(1, 0.2, ImageLaterality="L", ImageComments="10 o'clock 3 cm FN RAD")
    office.analysed(2, 0.7, ImageComments="LT BREAST 10:00 3CMFN ARAD")
    office.analysed(3, 0.9)
    first = lesions(summary(office))
    assert list(first) == ["Lesion, left, 10:00, 3 cm from the nipple"]
    office.analysed(4, 0.9)
    assert lesions(summary(office)) == first


def test_images_without_annotations_belong_to_no_lesion(office) -> None:
    office.analysed(1, 0.2, ImageLaterality="L")
    office.analysed(2, 0.7, ImageLaterality="L")
    assert lesions(summary(office)) == {}


@pytest.mark.parametrize(
    ("second", "same"), [("", True), ("L 10:00 RAD", True), ("L 10:00 ARAD", False)]
)
def test_without_lesions_the_summary_is_byte_for_byte_what_it_was_before_there_were_any(
    office, monkeypatch: pytest.MonkeyPatch, second: str, same: bool
) -> None:
    office.analysed(1, 0.2, ImageComments="L 10:00 RAD")
    office.analysed(2, 0.7, ImageComments=second)
    office.wait()
    with monkeypatch.context() as dying:
        dying.setattr(office.journal, "record_summary", lambda *_: False)
        assert office.summarise() == []
    (path,) = office.spool.root.glob("results/*/*/summary.dcm")
    written = path.read_bytes()
    monkeypatch.setattr("service.summary.summariser.lesions_of", lambda *_: [])
    office.wait(10)
    assert len(office.summarise()) == 1
    assert (path.read_bytes() == written) is same


def test_a_link_makes_a_new_summary_and_to_undo_it_another(office, command: Command) -> None:
    keys = [office.analysed(1, 0.2), office.analysed(2, 0.7)]
    before = summary(office)
    assert lesions(before) == {}
    result = command("link", *keys, "--side", "R")
    assert result.exit_code == 0, result.output
    linked = summary(office)
    (name,) = lesions(linked)
    assert name.startswith("Lesion, right, linked by the operator")
    replaced = linked.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert replaced.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert command("unlink", keys[1]).exit_code == 0
    assert lesions(summary(office)) == {}
    assert office.journal.counts().studies[StudyState.SUMMARISED] == 1


def test_list_tells_lesions_of_header_and_operator(office, command: Command) -> None:
    keys = [
        office.analysed(1, 0.2, ImageComments="L 2:00 TRANS"),
        office.analysed(2, 0.2, ImageComments="L 2:00 LONG"),
        office.analysed(3, 0.7),
        office.analysed(4, 0.7),
        office.analysed(5, 0.7),
    ]
    assert command("link", *keys[2:4]).exit_code == 0
    study = office.row(keys[0]).study_instance_uid
    listed = json.loads(command("list", study, "--json").stdout)
    found = {each["found"]: (each["side"], sorted(each["images"])) for each in listed}
    assert found == {
        "by the images' headers": ("L", sorted(keys[:2])),
        "by an operator": (None, sorted(keys[2:4])),
    }
    assert "2 lesions of several views; 1 images alone" in command("list", study).stdout


def test_what_cannot_be_linked_is_told_in_one_line(office, command: Command) -> None:
    keys = [office.analysed(1), office.analysed(2), office.analysed(3)]
    alone = command("link", keys[0])
    assert (alone.exit_code, alone.stderr.count("\n")) == (1, 1)
    assert "two images or more" in alone.stderr
    assert "argument 2: no such image" in command("link", keys[0], "unknown").stderr
    assert command("link", *keys[:2]).exit_code == 0
    again = command("link", *keys[1:], "--json")
    assert again.exit_code == 1
    assert "linked already" in json.loads(again.stdout)["reason"]
    assert "in no link" in command("unlink", keys[2]).stderr
    assert command("list", "1.2.3").exit_code == 1


def test_where_nobody_gets_summaries_no_lesion_is_linked(office, command: Command) -> None:
    keys = [office.analysed(1), office.analysed(2)]
    answer = command("link", *keys, env={"SECONDREAD_DESTINATIONS": WITHOUT_SUMMARIES})
    assert answer.exit_code == 1
    assert "no destination gets summaries" in answer.stderr
    assert office.journal.lesion_links(office.row(keys[0]).study_instance_uid) == []


def test_who_linked_is_in_the_audit_trail(office, command: Command) -> None:
    keys = [office.analysed(1), office.analysed(2)]
    command("link", *keys)
    command("unlink", keys[0])
    trail = "".join(
        path.read_text() for path in sorted(office.settings.audit_dir.glob("*")) if path.is_file()
    )
    assert "link-lesion" in trail
    assert "unlink-lesion" in trail
