"""What an operator sees of a mistake: one line that names it, and an exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pydicom.data
import pytest

from service.cli.app import COMMANDS
from service.cli.lazy import load
from service.sections import REFERENCE_MODEL
from tests.conftest import REPOSITORY

IMAGE = Path(pydicom.data.__file__).parent / "test_files" / "examples_palette.dcm"


@pytest.fixture
def secondread(tmp_path: Path):
    """``secondread(*arguments, **environment)`` in an empty folder."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", **environment},
        )

    return run


def test_help_lists_every_command(secondread) -> None:
    answer = secondread("--help")
    assert answer.returncode == 0
    for command in (
        *("up", "ingest", "worker", "keeper", "status", "replay"),
        *("analyse", "echo", "send", "model", "config", "demo"),
    ):
        assert f" {command} " in answer.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_its_help_begins_with_what_the_list_says(name: str) -> None:
    text = load(name, COMMANDS[name]).help
    assert " ".join(text.split("\n\n")[0].split()) == COMMANDS[name].help


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=["help", "version"])
def test_help_is_quick_for_it_loads_nothing_heavy(secondread, arguments: list[str]) -> None:
    heavy = "numpy pydicom pynetdicom highdicom celery sqlalchemy onnxruntime PIL pydantic redis"
    answer = secondread(*arguments, PYTHONPROFILEIMPORTTIME="1")
    assert answer.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines()}
    assert "typer" in loaded
    assert loaded.isdisjoint(heavy.split())


def test_a_command_that_is_not_there_is_guessed(secondread) -> None:
    answer = secondread("statsu")
    assert answer.returncode == 2
    assert "Did you mean 'status'?" in answer.stderr


PAGES = sorted([*(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / "README.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_that_a_page_names_exist_with_their_options(page: Path) -> None:
    for name, rest in re.findall(r"`(?:\S*/)?secondread ([a-z]+)([^`]*)`", page.read_text()):
        command = load(name, COMMANDS[name])
        if hasattr(command, "commands"):
            command = command.commands[rest.split()[0]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, f"secondread {name}{rest}"


def test_the_effective_configuration_is_toml_with_its_secrets_masked(secondread) -> None:
    answer = secondread(
        "config",
        SECONDREAD_BROKER__URL="redis://:not-to-be-shown@queue:6379/0",
        SECONDREAD_JOURNAL__URL="postgresql://reader:not-to-be-shown@db/journal",
        SECONDREAD_SPOOL__BUCKET="images",
        SECONDREAD_SPOOL__ACCESS_KEY="us",
        SECONDREAD_SPOOL__SECRET_KEY="not-to-be-shown",
        SECONDREAD_INGEST__AE_TITLE="READER",
    )
    assert answer.returncode == 0
    assert "not-to-be-shown" not in answer.stdout + answer.stderr
    values = tomllib.loads(answer.stdout)
    assert values["ingest"]["ae_title"] == "READER"
    assert set(values["broker"]["url"]) == {"*"}


def test_the_printed_configuration_can_be_used_again(secondread, tmp_path: Path) -> None:
    destinations = [
        {
            "name": "pacs",
            "host": "pacs.local",
            "port": 104,
            "ae_title": "PACS",
            "series_numbers": {"sr": 901},
            "series_descriptions": {"sc": 'AI "overlay"'},
        },
        {
            "name": "archive",
            "url": "https://archive.local/dicom-web",
            "authentication": {"type": "basic", "user": "us", "password_file": "/run/secret"},
        },
    ]
    first = secondread("config", SECONDREAD_DESTINATIONS=json.dumps(destinations))
    (tmp_path / "printed.toml").write_text(first.stdout)
    again = secondread("config", "--json", "--config", "printed.toml")
    printed = json.loads(again.stdout)["destinations"]
    for given, told in zip(destinations, printed, strict=True):
        assert {key: told[key] for key in given} == given


def test_a_mistake_in_the_configuration_names_its_key(secondread, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text('[ingest]\nport = "many"\n[keper]\ninterval = 1\n')
    answer = secondread("ingest", "--config", "wrong.toml")
    assert answer.returncode == 2
    assert "ingest.port: " in answer.stderr
    assert "keper: " in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_missing_configuration_file_is_named(secondread) -> None:
    answer = secondread("up", "--config", "nowhere.toml")
    assert answer.returncode == 2
    assert "nowhere.toml does not exist" in answer.stderr


def test_a_database_that_does_not_answer_is_no_stack_trace_and_tells_no_password(
    secondread,
) -> None:
    answer = secondread(
        "keeper", SECONDREAD_JOURNAL__URL="postgresql://reader:secret@127.0.0.1:1/x"
    )
    assert answer.returncode == 1
    assert "journal" in answer.stderr
    assert "secret" not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_model_that_is_missing_stops_the_worker(secondread, tmp_path: Path) -> None:
    answer = secondread(
        "worker", "--queue", "analysis", SECONDREAD_ANALYSIS__MODEL=str(tmp_path / "nowhere")
    )
    assert answer.returncode == 2
    assert "nowhere is not a model package" in answer.stderr


@pytest.mark.parametrize("program", ["secondread", "secondread-model"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion(program: str, shell: str) -> None:
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    done = subprocess.run(
        [Path(sys.executable).with_name(program)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, variable: f"source_{shell}"},
    )
    assert f"{variable}=complete_{shell}" in done.stdout
    assert program in done.stdout


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("secondread st", {"status"}),
        ("secondread status --", {"--json", "--config", "--help"}),
        ("secondread account ", {"add", "list", "remove", "token"}),
        ("secondread withdraw --", {"--reason", "--patient-safety"}),
    ],
)
def test_completion_knows_commands_that_are_loaded_late(words: str, wanted: set[str]) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("secondread")],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "_SECONDREAD_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
    )
    assert wanted <= set(done.stdout.split()), done.stdout + done.stderr


RUNNING = {"up", "demo", "ingest", "worker", "keeper", "web", "listen"}
"""Commands that run until they are ended, and tell in the log what they do."""
CHANGING = {"add", "remove", "token"}


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - RUNNING))
def test_every_command_that_answers_answers_in_json(name: str) -> None:
    loaded = load(name, COMMANDS[name])
    inner = getattr(loaded, "commands", {name: loaded})
    for each in inner.keys() - CHANGING - RUNNING:
        options = {option for parameter in inner[each].params for option in parameter.opts}
        assert "--json" in options, f"{name} {each}"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["echo", "127.0.0.1", "9"], 1),
        (["send", str(IMAGE), "--port", "9"], 1),
        (["analyse", str(IMAGE)], 0),
        (["config"], 0),
        (["model", "verify", str(REFERENCE_MODEL)], 0),
        (["model", "verify", "/"], 1),
        (["account", "list"], 0),
    ],
)
def test_its_json_can_be_read(secondread, arguments: list[str], code: int) -> None:
    """Also where the answer is that it did not work."""
    answer = secondread(*arguments, "--json")
    assert answer.returncode == code, answer.stderr
    if arguments[0] != "send":
        json.loads(answer.stdout)
    assert bool(answer.stderr) == bool(code) or arguments[0] == "analyse"
