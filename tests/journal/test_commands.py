"""``secondread status`` and ``secondread replay``, on a journal that nobody else has open."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from service.cli.images import replay
from service.cli.status import status
from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, ImageState, ReceivedImage
from service.programs import PORT_KEYS

Image = Callable[..., ReceivedImage]
Analysed = Callable[..., str]
Command = Callable[..., Result]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The journal's place by default, under ``data_dir``."""
    return f"sqlite:///{tmp_path / 'journal.sqlite3'}"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """``command("status", "--json")``"""
    for name in os.environ:
        if name.startswith("SECONDREAD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "160")
    app = typer.Typer()
    app.command()(status)
    app.command()(replay)
    configuration = tmp_path / "secondread.toml"
    configuration.write_text(f'data_dir = "{tmp_path}"\n')

    def run(name: str, *arguments: str) -> Result:
        return CliRunner().invoke(app, [name, "--config", str(configuration), *arguments])

    return run


def fail_analysis(journal: Journal, key: str) -> None:
    job = journal.lease_analysis(key, 10)
    assert job is not None
    journal.record_analysis_failure(job, "OutOfMemory: no memory on the GPU", retry_in=None)


@pytest.fixture
def one_of_each(
    journal: Journal, image: Image, analysed: Analysed, not_analysable: AnalysisOutcome, clock
) -> None:
    """Received, ignored, not analysable, delivered, and one whose PACS does not answer."""
    journal.record_received(image(1))
    clock.forward(1)
    journal.record_received(image(2, ignored_reason="structured-report"))
    job = journal.lease_analysis(journal.record_received(image(3)).key, 10)
    assert job is not None
    journal.record_outcome(job, not_analysable, {})
    for number in (4, 5):
        delivery = journal.lease_delivery(analysed(number, "pacs"), "pacs", 10)
        assert delivery is not None
        if number == 4:
            journal.record_delivered(delivery)
        else:
            journal.record_delivery_failure(delivery, "no connection", 60, refused=False)


@pytest.mark.usefixtures("one_of_each")
def test_status_as_json(command: Command, image: Image) -> None:
    result = command("status", "--json")

    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["images"] == {
        "received": 1,
        "analysed": 1,
        "ignored": 1,
        "not_analysable": 1,
        "failed": 0,
        "delivered": 1,
        "withdrawn": 0,
    }
    assert told["studies"] == {"pending": 0, "summarised": 0, "failed": 0}
    assert told["not_analysable"] == {"colour-doppler": 1}
    assert told["waiting"]["analysis"]["jobs"] == 1
    assert told["waiting"]["analysis"]["oldest_seconds"] > 1
    assert told["oldest_image_seconds"] > 1
    assert told["deliveries"]["pacs"].pop("oldest_seconds") > 0
    assert told["processes"].keys() == PORT_KEYS.keys()
    assert told["deliveries"] == {
        "pacs": {
            "pending": 1,
            "stored": 0,
            "delivered": 1,
            "failed": 0,
            "cancelled": 0,
            "last_error": "no connection",
        }
    }
    newest = {each["key"]: each for each in told["newest"]}
    assert len(newest) == 5
    assert newest[image(4).key]["probability_malignant"] == 0.75
    assert newest[image(5).key]["last_error"] == "no connection"
    assert newest[image(3).key]["reason"] == "colour-doppler"
    assert newest[image(2).key]["reason"] == "structured-report"


@pytest.mark.usefixtures("one_of_each")
def test_status_for_a_person(command: Command, image: Image) -> None:
    result = command("status")

    assert result.exit_code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines()]
    assert ["delivered", "1"] in rows
    assert ["pacs", "1", "0", "1", "0", "0", "no connection"] in rows
    assert [image(4).key, "delivered", "0.750 malignant", ""] in rows
    assert [image(3).key, "not_analysable", "", "colour-doppler"] in rows


@pytest.mark.usefixtures("one_of_each")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_status_names_no_patient_and_no_uid(
    command: Command, image: Image, form: list[str]
) -> None:
    assert image(1).sop_instance_uid not in command("status", *form).output


def test_a_failed_image_is_seen_in_the_exit_code(
    command: Command, journal: Journal, image: Image
) -> None:
    fail_analysis(journal, journal.record_received(image(1)).key)

    result = command("status")

    assert result.exit_code == 1
    assert "no memory on the GPU" in result.stdout


@pytest.mark.parametrize("arguments", [["status"], ["replay", "--failed"]])
def test_without_a_journal_the_operator_is_told(command: Command, arguments: list[str]) -> None:
    result = command(*arguments)
    assert result.exit_code == 2
    assert "there is no journal" in result.stderr


@pytest.mark.parametrize("arguments", [["status"], ["replay", "--failed"]])
def test_a_wrong_configuration_is_told(
    command: Command, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDREAD_INGEST__PORT", "no number")
    result = command(*arguments)
    assert result.exit_code == 2
    assert "ingest.port" in result.stderr


@pytest.mark.parametrize("by", ["key", "UID"])
def test_replay_takes_a_uid_or_a_key(
    command: Command, journal: Journal, image: Image, by: str
) -> None:
    failed, other = (journal.record_received(image(number)).key for number in (1, 2))
    fail_analysis(journal, failed)
    fail_analysis(journal, other)

    result = command("replay", failed if by == "key" else image(1).sop_instance_uid)

    assert result.exit_code == 0
    assert "1 replayed" in result.stdout
    assert journal.keys_in(ImageState.RECEIVED) == [failed]
    assert journal.keys_in(ImageState.FAILED) == [other]


def test_replay_all_that_failed(command: Command, journal: Journal, image: Image) -> None:
    for number in (1, 2, 3):
        fail_analysis(journal, journal.record_received(image(number)).key)

    result = command("replay", "--failed")

    assert result.exit_code == 0
    assert "3 replayed" in result.stdout
    assert journal.keys_in(ImageState.FAILED) == []


def test_replay_tells_which_argument_means_no_image_without_repeating_it(
    command: Command, journal: Journal, image: Image
) -> None:
    key = journal.record_received(image(1)).key
    fail_analysis(journal, key)

    result = command("replay", "1.2.3.4.5.6", key)

    assert result.exit_code == 0
    assert "argument 1: no such image" in result.stderr
    assert "1.2.3.4.5.6" not in result.output


@pytest.mark.parametrize("argument", ["--failed", "1.2.826.0.1.1", "1.2.3"])
def test_where_nothing_failed_nothing_is_replayed(
    command: Command, journal: Journal, image: Image, argument: str
) -> None:
    journal.record_received(image(1))
    result = command("replay", argument)
    assert result.exit_code == 1
    assert "nothing was replayed" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--failed", "1.2.3"]])
def test_replay_wants_either_names_or_all(command: Command, arguments: list[str]) -> None:
    assert command("replay", *arguments).exit_code == 2
