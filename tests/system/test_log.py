"""A log line tells where something broke, and nothing that an exception says."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydicom import Dataset

from service import keeper
from service.cli import processes
from service.log import fault, set_up_logging


@pytest.fixture(autouse=True)
def _untouched_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    mask = os.umask(0o022)
    with warnings.catch_warnings():
        yield
    os.umask(mask)
    root.handlers[:] = handlers
    root.setLevel(level)
    threading.excepthook = threading.__excepthook__
    sys.excepthook = sys.__excepthook__


def _broken() -> None:
    raise ValueError("Doe^Jane")


def test_an_exception_is_logged_by_its_class_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("analysis", "INFO")
    try:
        _broken()
    except ValueError:
        logging.getLogger("service.x").exception("it broke")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ERROR analysis: it broke [ValueError at test_log.py:" in line
    assert "Doe" not in line


def test_so_is_one_that_ends_a_thread(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("ingest", "INFO")
    thread = threading.Thread(target=_broken, name="publisher")
    thread.start()
    thread.join()
    (line,) = capsys.readouterr().err.splitlines()
    assert "ERROR ingest: publisher broke off [ValueError at test_log.py:" in line


def test_and_one_that_ends_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("ingest", "INFO")
    error = ValueError("Doe^Jane")
    sys.excepthook(ValueError, error, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert "CRITICAL ingest: the program broke off [ValueError]" in line


def test_a_message_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("ingest", "INFO")
    logging.getLogger("celery.worker").error("lost\nTrying again\n")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_libraries_that_log_each_message_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("ingest", "INFO")
    logging.getLogger("pynetdicom.assoc").info("Peer: Doe^Jane")
    logging.getLogger("celery.worker").info("Task received")
    assert capsys.readouterr().err == ""


def test_an_exception_without_a_traceback_is_its_class() -> None:
    assert fault(KeyError("Doe^Jane")) == "KeyError"


def test_a_library_that_logs_an_exception_as_its_message_is_not_quoted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging("ingest", "INFO")
    try:
        _broken()
    except ValueError as error:
        logging.getLogger("kombu.transport").exception(error)
    (line,) = capsys.readouterr().err.splitlines()
    assert "kombu.transport failed [ValueError at" in line
    assert "Doe" not in line


def test_pydicom_quotes_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as warned:
        set_up_logging("ingest", "INFO")
        Dataset().StudyDate = "Doe^Jane"
    assert not warned
    assert "Doe" not in capsys.readouterr().err


def test_pydicom_quotes_no_value_if_it_is_imported_later(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging("ingest", "INFO")
    logging.getLogger("pydicom").setLevel(logging.WARNING)  # as its import does
    Dataset().StudyDate = "Doe^Jane"
    assert "Doe" not in capsys.readouterr().err


def test_a_secret_that_everybody_can_read_is_named_and_one_out_of_reach_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "run", lambda settings: 0)
    (tmp_path / "open").touch(0o644)
    (tmp_path / "closed").touch(0o600)
    out_of_reach = "/" + 300 * "x"  # whoever asks: nothing is out of reach of root
    text = ""
    for number, path in enumerate(
        (tmp_path / "open", tmp_path / "closed", tmp_path / "absent", out_of_reach)
    ):
        text += f'[[destinations]]\nname = "a{number}"\nurl = "https://a.example.org/"\n'
        text += f'authentication = {{ type = "basic", user = "u", password_file = "{path}" }}\n'
    (tmp_path / "secondread.toml").write_text(text)

    with pytest.raises(typer.Exit) as ended:
        processes.keeper(tmp_path / "secondread.toml")

    assert ended.value.exit_code == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert f"WARNING keeper: {tmp_path}/open can be read by everybody" in line
