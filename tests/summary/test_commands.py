"""``secondread withdraw``, ``report`` and ``reanalyse``, on a journal that nobody else has open."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from dicom_sr.finding import ModelIdentity
from service.analysis.model_package import load_model_package
from service.audit.messages import pseudonym
from service.cli.images import report, withdraw
from service.cli.reanalyse import reanalyse
from service.journal.records import ImageState
from service.sections import REFERENCE_MODEL

Command = Callable[..., Result]


@pytest.fixture
def command(office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``command("withdraw", uid, "--reason", "why")``: at the office's own journal and spool."""
    for name in os.environ:
        if name.startswith("SECONDREAD_"):
            monkeypatch.delenv(name)
    app = typer.Typer()
    for function in (withdraw, report, reanalyse):
        app.command()(function)
    configuration = tmp_path / "secondread.toml"
    configuration.write_text(
        f'data_dir = "{office.settings.data_dir}"\n'
        'results.report_not_analysed = "on-request"\n'
        '[[destinations]]\nname = "pacs"\nhost = "127.0.0.1"\nport = 104\nae_title = "PACS"\n'
    )

    def run(name: str, *arguments: str) -> Result:
        return CliRunner().invoke(app, [name, "--config", str(configuration), *arguments])

    return run


def test_an_image_is_withdrawn_by_its_uid(office, command: Command) -> None:
    key = office.analysed(1)
    uid = office.row(key).sop_instance_uid
    result = command("withdraw", uid, "--reason", "wrong breast")
    assert result.exit_code == 0, result.output
    assert "1 withdrawn" in result.stdout
    assert uid not in result.output
    assert office.row(key).state is ImageState.WITHDRAWN
    note = office.object(office.row(key).parcel, "rejection.dcm")
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"


def test_who_withdraws_and_reanalyses_is_in_the_audit_trail(office, command: Command) -> None:
    keys = office.analysed(1), office.analysed(2)
    rows = [office.row(key) for key in keys]
    command("withdraw", keys[0], "--reason", "wrong breast", "--patient-safety")
    command("reanalyse", keys[1])
    (file,) = office.settings.audit_dir.glob("*.jsonl")
    messages = [json.loads(line) for line in file.read_text().splitlines()]
    orders = [each["EventIdentification"]["EventOutcomeDescription"]["text"] for each in messages]
    assert orders == ["withdraw", "reanalyse"]
    for row, message in zip(rows, messages, strict=True):
        (person,) = message["ActiveParticipant"]
        assert person["UserID"] == pwd.getpwuid(os.getuid()).pw_name
        assert pseudonym(row.sop_instance_uid) in json.dumps(message)
        assert row.sop_instance_uid not in json.dumps(message)
    assert "wrong breast" not in file.read_text()


def test_what_changes_nothing_is_no_order(office, command: Command) -> None:
    command("withdraw", office.image(1), "1.2.3", "--reason", "why")
    command("reanalyse", office.image(2))
    assert not list(office.settings.audit_dir.glob("*"))


def test_a_result_is_withdrawn_by_its_own_uid_for_patient_safety(office, command: Command) -> None:
    key = office.analysed(1)
    uid = office.row(key).outcome.uids[1]
    result = command("withdraw", uid, "--reason", "wrong breast", "--patient-safety")
    assert result.exit_code == 0, result.output
    note = office.object(office.row(key).parcel, "rejection.dcm")
    assert note.ConceptNameCodeSequence[0].CodeValue == "113037"


def test_what_cannot_be_withdrawn_is_told_by_its_place(office, command: Command) -> None:
    key = office.analysed(1)
    result = command("withdraw", "1.2.3", office.image(2), key, "--reason", "why")
    assert result.exit_code == 1
    assert "argument 1: no such image or result" in result.stderr
    assert "argument 2: not withdrawn: there is no result" in result.stderr
    assert office.row(key).state is ImageState.WITHDRAWN
    assert command("withdraw", key, "--reason", "why").exit_code == 1


@pytest.mark.parametrize("arguments", [[], ["--reason", "  "]])
def test_a_withdrawal_needs_a_reason(office, command: Command, arguments: list[str]) -> None:
    key = office.analysed(1)
    assert command("withdraw", key, *arguments).exit_code == 2
    assert office.row(key).state is ImageState.ANALYSED


def test_a_withdrawal_wakes_the_keeper_at_once(office, command: Command) -> None:
    key = office.analysed(1)
    command("withdraw", key, "--reason", "why")
    office.now = datetime.now(UTC)
    assert office.row(key).parcel in [each.key for each in office.journal.overdue(30)]


def test_a_report_that_is_kept_back_is_sent_on_request_once(office, command: Command) -> None:
    office.settings = office.settings.model_copy(update={"destinations": ()})
    key, scored = office.refused(1), office.analysed(2)
    assert office.row(key).deliveries == ()
    result = command("report", key, scored)
    assert result.exit_code == 0, result.output
    assert "1 reports are on their way" in result.stdout
    assert [each.objects for each in office.row(key).deliveries] == [("sr.dcm",)]
    assert command("report", key).exit_code == 1


def test_another_model_analyses_again(office, command: Command) -> None:
    key = office.analysed(1)
    result = command("reanalyse", key)
    assert result.exit_code == 0, result.output
    assert office.row(key).state is ImageState.RECEIVED
    assert office.row(key).edition == 1


def test_the_same_model_does_not_unless_it_was_withdrawn(office, command: Command) -> None:
    manifest = load_model_package(REFERENCE_MODEL).manifest
    office.model = ModelIdentity(manifest.name, manifest.version, manifest.sha256)
    key = office.refused(1)
    result = command("reanalyse", key)
    assert result.exit_code == 1
    assert "argument 1: this model has said it already" in result.stderr
    assert command("withdraw", key, "--reason", "why").exit_code == 0
    assert command("reanalyse", key).exit_code == 0
    assert office.row(key).state is ImageState.RECEIVED


@pytest.mark.parametrize("name", ["withdraw", "report", "reanalyse"])
def test_a_wrong_configuration_is_told(
    office, command: Command, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDREAD_INGEST__PORT", "no number")
    reason = ["--reason", "why"] if name == "withdraw" else []
    result = command(name, "1.2.3", *reason)
    assert result.exit_code == 2
    assert "ingest.port" in result.stderr
