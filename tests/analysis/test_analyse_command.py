"""``secondread analyse`` and ``secondread model``: output, files and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from typer.testing import CliRunner, Result

from service.analysis.model_package import MODEL_FILE, ModelPackage
from service.cli.app import app

Saved = Callable[..., Path]

KEYS = {
    *("file", "outcome", "reason", "probability_malignant", "probability_benign", "decision"),
    *("threshold", "frame", "region", "model", "model_sha256"),
}


@pytest.fixture
def secondread(package: ModelPackage) -> Callable[..., Result]:
    """``secondread("analyse", …)``: run a command with the test's model package."""

    def run(*arguments: object) -> Result:
        command = [str(argument) for argument in arguments]
        if command[0] == "analyse" and "--model" not in command:
            command += ["--model", str(package.folder)]
        return CliRunner().invoke(app, command)

    return run


def rows(result: Result) -> list[dict[str, Any]]:
    """The lines of ``--json``: nothing else may stand on standard output."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_of_an_analysed_file(
    secondread: Callable[..., Result], tissue: Dataset, saved: Saved, package: ModelPackage
) -> None:
    path = saved(tissue)
    result = secondread("analyse", path, "--json")
    assert result.exit_code == 0
    (row,) = rows(result)
    assert row.keys() == KEYS
    assert row["file"] == str(path)
    assert row["outcome"] == "analysed"
    assert row["reason"] is None
    assert row["probability_malignant"] + row["probability_benign"] == 1
    assert row["decision"] == "benign"
    assert row["threshold"] == 0.5
    assert row["frame"] == 1
    assert row["region"] == [0, 0, 320, 240]
    assert row["model"] == "brightness 1"
    assert row["model_sha256"] == package.manifest.sha256


def test_what_cannot_be_analysed_is_handled(
    secondread: Callable[..., Result], us_dicom: Path
) -> None:
    result = secondread(
        *("analyse", "--json", us_dicom / "other/dcm4che__will-jxl.dcm"),
        *(us_dicom / "breast/uta11_a661b03c_IM4.dcm", us_dicom / "other/go-dicom__I_000034.dcm"),
    )
    assert result.exit_code == 0
    assert [(row["outcome"], row["reason"]) for row in rows(result)] == [
        ("not_analysable", "unsupported-transfer-syntax"),
        ("ignored", "sop-class"),
        ("not_analysable", "imaging-mode"),
    ]
    for row in rows(result):
        assert row.keys() == KEYS
        assert row["probability_malignant"] is None
        assert row["decision"] is None


@pytest.mark.parametrize(
    "content",
    [b"", b"some text", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 2000],
    ids=["empty", "text", "magic word alone", "nonsense after the magic word"],
)
def test_an_unreadable_file_fails_and_the_others_are_analysed(
    content: bytes, secondread: Callable[..., Result], tissue: Dataset, saved: Saved, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(content)
    result = secondread("analyse", bad, saved(tissue), "--json")
    assert result.exit_code == 1
    assert [row["outcome"] for row in rows(result)] == ["failed", "analysed"]
    assert rows(result)[0]["reason"] in {"unreadable", "unreadable-header"}


def test_a_folder_is_walked_for_dicom_and_pictures(
    secondread: Callable[..., Result], tissue: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    tissue.save_as(folder / "deep" / "IM0001", enforce_file_format=True)
    Image.fromarray(np.asarray(tissue.pixel_array)).save(folder / "b.PNG")
    (folder / "notes.txt").write_text("not an image")
    result = secondread("analyse", folder, "--json")
    assert result.exit_code == 0
    found = rows(result)
    assert [Path(row["file"]).name for row in found] == ["b.PNG", "IM0001"]
    # The picture and the data set hold the same pixels.
    assert found[0]["probability_malignant"] == found[1]["probability_malignant"]


def test_results_are_written_and_nothing_is_overwritten(
    secondread: Callable[..., Result], tissue: Dataset, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        tissue.save_as(tmp_path / name / "a.dcm", enforce_file_format=True)
    out = tmp_path / "two"
    Image.fromarray(np.asarray(tissue.pixel_array)).save(out / "a.png")
    before = (out / "a.png").read_bytes()
    result = secondread("analyse", tmp_path / "one/a.dcm", out / "a.dcm", "--out", out)
    assert result.exit_code == 0
    assert (out / "a.png").read_bytes() == before
    assert {path.name for path in out.iterdir()} == {
        *("a.dcm", "a.png"),
        *("a-2.sr.dcm", "a-2.sc.dcm", "a-2.png", "a-3.sr.dcm", "a-3.sc.dcm", "a-3.png"),
    }
    assert dcmread(out / "a-2.sr.dcm").StudyInstanceUID == tissue.StudyInstanceUID
    assert dcmread(out / "a-2.sc.dcm").Modality == "OT"


def test_what_is_not_analysable_gets_a_report_alone(
    secondread: Callable[..., Result], us_dicom: Path, tmp_path: Path
) -> None:
    secondread("analyse", us_dicom / "other/go-dicom__I_000034.dcm", "--out", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["go-dicom__I_000034.sr.dcm"]


def test_the_table_tells_file_and_outcome(
    secondread: Callable[..., Result],
    tissue: Dataset,
    saved: Saved,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = secondread("analyse", saved(tissue))
    assert result.exit_code == 0
    assert "image.dcm" in result.stdout
    assert "benign" in result.stdout
    assert "research use only" in result.stdout


def test_a_missing_path_is_an_error_of_use(
    secondread: Callable[..., Result], tmp_path: Path
) -> None:
    result = secondread("analyse", tmp_path / "none.dcm")
    assert result.exit_code == 2
    assert "none.dcm" in result.stderr.replace("\n", "")
    assert result.stdout == ""


def test_a_folder_that_is_no_model_package_is_an_error_of_configuration(
    secondread: Callable[..., Result], tissue: Dataset, saved: Saved, tmp_path: Path
) -> None:
    result = secondread("analyse", saved(tissue), "--model", tmp_path)
    assert result.exit_code == 2
    assert "not a model package" in result.stderr


def test_a_configuration_with_a_mistake_is_named(
    secondread: Callable[..., Result], tissue: Dataset, saved: Saved, tmp_path: Path
) -> None:
    config = tmp_path / "secondread.toml"
    config.write_text("[analysis]\nframe_stride = 0\n")
    result = secondread("analyse", saved(tissue), "--config", config)
    assert result.exit_code == 2
    assert "analysis.frame_stride" in result.stderr


def test_model_show(secondread: Callable[..., Result], package: ModelPackage) -> None:
    result = secondread("model", "show", package.folder)
    assert result.exit_code == 0
    assert "brightness 1" in result.stdout
    as_json = secondread("model", "show", package.folder, "--json")
    assert json.loads(as_json.stdout) == package.manifest.model_dump(mode="json")


def test_model_verify(secondread: Callable[..., Result], package: ModelPackage) -> None:
    result = secondread("model", "verify", package.folder)
    assert result.exit_code == 0
    assert "CAMs of 4 × 4" in result.stdout
    assert "probabilities sum to 1" in result.stdout


def test_model_verify_finds_what_is_wrong(
    secondread: Callable[..., Result], broken_package: ModelPackage, tmp_path: Path
) -> None:
    result = secondread("model", "verify", broken_package.folder)
    assert result.exit_code == 1
    assert "probabilities sum to" in result.stderr
    for file in broken_package.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / MODEL_FILE).write_bytes(b"another model")
    changed = secondread("model", "verify", tmp_path)
    assert changed.exit_code == 1
    assert "sha256" in changed.stderr
    assert secondread("model", "verify", tmp_path / "none").exit_code == 1
