"""``secondread-model`` as a data scientist meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from model_export.cli.app import COMMANDS


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "from model_export.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_names_the_commands() -> None:
    answer = _run("--help")
    assert answer.returncode == 0
    for command in COMMANDS:
        assert command in answer.stdout


def test_a_folder_without_a_manifest_is_one_line(tmp_path: Path) -> None:
    answer = _run("train", "--data", tmp_path, "--out", tmp_path / "run")
    assert answer.returncode == 1
    assert "manifest.csv" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_folder_that_is_no_package_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,label,patient_id\na.png,benign,p1\n")
    answer = _run("evaluate", tmp_path, "--data", tmp_path)
    assert answer.returncode == 1
    assert "is not a model package" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_label_that_is_neither_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,label,patient_id\na.png,normal,p1\n")
    answer = _run("evaluate", tmp_path, "--data", tmp_path)
    assert answer.returncode == 1
    assert "a.png: the label 'normal'" in answer.stderr
