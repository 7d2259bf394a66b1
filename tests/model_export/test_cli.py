"""``secondread-model`` as a data scientist meets it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from model_export.cli.app import COMMANDS

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_help_names_the_commands(secondread_model: Command) -> None:
    answer = secondread_model("--help")
    assert answer.returncode == 0
    for command in COMMANDS:
        assert command in answer.stdout


def test_a_folder_without_a_manifest_is_one_line(tmp_path: Path, secondread_model: Command) -> None:
    answer = secondread_model("train", "--data", tmp_path, "--out", tmp_path / "run")
    assert answer.returncode == 1
    assert "manifest.csv" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_folder_that_is_no_package_is_one_line(tmp_path: Path, secondread_model: Command) -> None:
    (tmp_path / "manifest.csv").write_text("file,label,patient_id\na.png,benign,p1\n")
    answer = secondread_model("evaluate", tmp_path, "--data", tmp_path)
    assert answer.returncode == 1
    assert "is not a model package" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_label_that_is_neither_is_named(tmp_path: Path, secondread_model: Command) -> None:
    (tmp_path / "manifest.csv").write_text("file,label,patient_id\na.png,normal,p1\n")
    answer = secondread_model("evaluate", tmp_path, "--data", tmp_path)
    assert answer.returncode == 1
    assert "a.png: the label 'normal'" in answer.stderr
