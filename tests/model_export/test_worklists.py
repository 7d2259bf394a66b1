"""From a data folder to two blinded sessions, and back to the readings: real images."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from model_export.cli.reader_study import reader_study_app
from model_export.dataset import LabelledImage, read_manifest
from model_export.reader_study.readings import read_readings
from model_export.reader_study.worklists import SESSIONS, Shown, make_work_lists
from service.sections import REFERENCE_MODEL

_SECRETS = (b"malignant", b"benign", b"breast_", b"case0", b"Carcinoma")


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(reader_study_app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def cases(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight real images, of which one has a diagnosis in its EXIF, and one coloured picture."""
    source = data_folder / "breast-lesions-usg"
    folder = tmp_path_factory.mktemp("cases")
    rows = []
    for label in ("benign", "malignant"):
        (folder / label).mkdir()
        for index, path in enumerate(sorted((source / label).glob("*.jpg"))[:4]):
            name = f"{label}/{path.name}"
            shutil.copy(path, folder / name)
            rows.append((name, label, f"breast_{label}_{index}", "3"))
    with Image.open(folder / rows[-1][0]) as image:
        exif = image.getexif()
        exif[0x010E] = "Carcinoma, malignant"
        image.save(folder / rows[-1][0], exif=exif, comment=b"malignant")
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "benign" / "doppler.png")
    rows.append(("benign/doppler.png", "benign", "breast_doppler", "3"))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("file", "label", "patient_id", "birads"), *rows])
    return folder


@pytest.fixture(scope="module")
def work_lists(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the command with the reference model, for two readers."""
    out = tmp_path_factory.mktemp("study") / "lists"
    readers = ["--reader", "R1", "--reader", "R2"]
    result = _invoke("worklists", cases, "--out", out, "--seed", 5, *readers)
    assert result.exit_code == 0, result.output
    return out


def _key(folder: Path) -> list[dict[str, str]]:
    with (folder / "key.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _fill(folder: Path, session: int, answer: Callable[[dict[str, str], str], str]) -> None:
    """Write every reader's answers: ``answer(row of the key, reader)``; two weeks in between."""
    by_case = {row[f"session_{session}"]: row for row in _key(folder)}
    for sheet in (folder / SESSIONS[session - 1]).glob("answers*.csv"):
        with sheet.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            row["birads"] = answer(by_case[row["case"]], row["reader"])
            row["date"] = "2026-03-01" if session == 1 else "2026-03-15"
        with sheet.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def test_sessions_hold_every_case_that_the_service_would_analyse(
    cases: Path, work_lists: Path
) -> None:
    first, second = (work_lists / session for session in SESSIONS)
    numbers = [f"case_{number:03d}" for number in range(1, 9)]
    assert sorted(path.stem for path in first.glob("*.png")) == numbers
    assert sorted(path.stem for path in second.glob("*.png")) == sorted(
        numbers + [f"{number}_ai" for number in numbers]
    )
    left_out = (work_lists / "left_out.csv").read_text(encoding="utf-8")
    assert "benign/doppler.png,not analysed: doppler-or-elastography" in left_out
    labels = {image.file: image.label for image in read_manifest(cases)}
    for row in _key(work_lists):
        assert (row["truth"] == "malignant") == (labels[row["file"]] == 1)
        assert 0 <= float(row["ai_score"]) <= 1


def test_the_two_sessions_show_the_keys_pixels_in_different_orders(
    cases: Path, work_lists: Path
) -> None:
    key = _key(work_lists)
    assert [row["session_1"] for row in key] != [row["session_2"] for row in key]
    for row in key:
        with Image.open(cases / row["file"]) as image:
            pixels = np.asarray(image.convert("L"))
        for number, session in enumerate(SESSIONS, 1):
            with Image.open(work_lists / session / f"{row[f'session_{number}']}.png") as shown:
                assert np.array_equal(np.asarray(shown.convert("L")), pixels)
        stem = work_lists / SESSIONS[1] / f"{row['session_2']}_ai.png"
        with Image.open(stem) as overlay:
            assert overlay.height > pixels.shape[0]


def test_nothing_in_a_session_tells_the_truth(work_lists: Path) -> None:
    for session in SESSIONS:
        files = list((work_lists / session).iterdir())
        assert len({file.stat().st_mtime for file in files}) == 1
        for file in files:
            content = file.read_bytes()
            secrets = [secret for secret in _SECRETS if secret in content]
            assert not secrets, f"{file.name} holds {secrets}"
        for picture in (work_lists / session).glob("*.png"):
            with Image.open(picture) as image:
                assert not image.info
                assert not image.getexif()


def test_position_in_a_session_is_not_correlated_with_the_truth(tmp_path: Path) -> None:
    tiny = tmp_path / "tiny.png"
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tiny)
    images = [LabelledImage(f"{n}.png", tiny, None, int(n < 4), f"p{n}") for n in range(8)]
    picture = Shown(np.zeros((4, 4, 3), dtype=np.uint8), 0.5)
    malignant = {1: np.zeros(8), 2: np.zeros(8)}
    for seed in range(40):
        folder = tmp_path / str(seed)
        make_work_lists(images, lambda _: picture, folder, seed)
        for row in _key(folder):
            for session, places in malignant.items():
                place = int(row[f"session_{session}"].removeprefix("case_")) - 1
                places[place] += row["truth"] == "malignant"
        shutil.rmtree(folder)
    for places in malignant.values():
        # 40 draws of ½ have a standard deviation of 3.2; four of them in eight places is 1 : 2000.
        assert np.abs(places - 20).max() < 13


def test_the_seed_decides_and_the_folder_is_never_overwritten(cases: Path, tmp_path: Path) -> None:
    images = read_manifest(cases)
    picture = Shown(np.zeros((4, 4, 3), dtype=np.uint8), None)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_work_lists(images, lambda _: picture, tmp_path / name, seed)
    keys = [(tmp_path / name / "key.csv").read_text(encoding="utf-8") for name in "abc"]
    assert keys[0] == keys[1] != keys[2]
    with pytest.raises(ValueError, match="not empty"):
        make_work_lists(images, lambda _: picture, tmp_path / "a", 1)


def test_heatmaps_from_a_folder(cases: Path, tmp_path: Path) -> None:
    heatmaps = tmp_path / "heatmaps"
    heatmaps.mkdir()
    images = read_manifest(cases)
    for number, image in enumerate(images[1:]):
        drawn = np.full((8, 8, 3), number, dtype=np.uint8)
        Image.fromarray(drawn).save(heatmaps / f"{image.path.stem}.png")
    (heatmaps / "scores.csv").write_text(f"file,score\n{images[1].file},0.25\n", encoding="utf-8")
    out = tmp_path / "lists"
    result = _invoke("worklists", cases, "--out", out, "--heatmaps", heatmaps, "--seed", 1)
    assert result.exit_code == 0, result.output
    left_out = (out / "left_out.csv").read_text(encoding="utf-8")
    assert f"{images[0].file},no heatmap of that name" in left_out
    row = next(row for row in _key(out) if row["file"] == images[1].file)
    assert row["ai_score"] == "0.250000"
    with Image.open(out / SESSIONS[1] / f"{row['session_2']}_ai.png") as shown:
        assert np.asarray(shown).max() == 0


def test_images_that_the_model_was_trained_on_are_refused(cases: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "model.onnx").symlink_to(REFERENCE_MODEL / "model.onnx")
    manifest = json.loads((REFERENCE_MODEL / "manifest.json").read_text(encoding="utf-8"))
    manifest["training_images"] = [read_manifest(cases)[0].digest()]
    (package / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    arguments = ("worklists", cases, "--out", tmp_path / "lists", "--heatmaps", package)
    result = _invoke(*arguments)
    assert isinstance(result.exception, ValueError)
    assert "was trained on 1 of these 9 images" in str(result.exception)
    assert not (tmp_path / "lists").exists()
    insisted = _invoke(*arguments, "--training-set")
    assert insisted.exit_code == 0
    assert "TRAINING IMAGES" in insisted.output


def test_filled_sheets_come_back_as_readings_and_are_analysed(
    work_lists: Path, tmp_path: Path
) -> None:
    study = tmp_path / "lists"
    shutil.copytree(work_lists, study)
    _fill(study, 1, lambda row, reader: "3" if reader == "R1" else "4b")
    _fill(study, 2, lambda row, reader: "4C" if row["truth"] == "malignant" else "BI-RADS 4a")
    readings = tmp_path / "readings.csv"
    result = _invoke("collect", study, "--out", readings)
    assert result.exit_code == 0, result.output
    kept = read_readings(readings).kept
    assert len(kept) == 16
    truths = {row["case"]: row["truth"] == "malignant" for row in _key(study)}
    for reading in kept:
        assert reading.label == truths[reading.case]
        assert reading.first.value == ("3" if reading.reader == "R1" else "4B")
        assert reading.second.malignant == bool(reading.label)
        assert reading.days == 14
    arguments = ("--out", tmp_path / "out", "--threshold", 0.5)
    analysed = _invoke("analyse", readings, *arguments)
    assert analysed.exit_code == 0, analysed.output
    assert "8 cases (4 malignant, 4 benign)" in analysed.output


def test_missing_and_wrong_answers_are_named(work_lists: Path, tmp_path: Path) -> None:
    study = tmp_path / "lists"
    shutil.copytree(work_lists, study)
    _fill(study, 1, lambda row, reader: "3")
    _fill(study, 2, lambda row, reader: "4B")
    sheet = study / SESSIONS[0] / "answers_R1.csv"
    text = sheet.read_text(encoding="utf-8").replace("case_002,3", "case_002,5")
    sheet.write_text(text.replace("case_003,3,2026-03-01", "case_003,,"), encoding="utf-8")
    readings = tmp_path / "readings.csv"
    refused = _invoke("collect", study, "--out", readings)
    assert refused.exit_code == 1
    place = f"{SESSIONS[0]}/answers_R1.csv, line 3: case_002"
    assert f"{place}: the answer is BI-RADS 5, outside 3, 4A, 4B, 4C" in refused.output
    assert f"{SESSIONS[0]}: case_003: no answer of reader R1" in refused.output
    assert not readings.exists()

    gaps = _invoke("collect", study, "--out", readings, "--incomplete")
    assert gaps.exit_code == 0, gaps.output
    found = read_readings(readings)
    assert len(found.kept) == 14
    assert set(found.reasons()) == {
        "reading 1 is BI-RADS 5, outside 3, 4A, 4B, 4C",
        "reading 1 is missing",
    }


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("case_002", "case_099", "the session has no case 'case_099'"),
        ("case_002", "case_001", "case_001: this reader has answered it twice"),
        ("R1", "", "the reader's code is missing"),
    ],
)
def test_answers_that_cannot_be_told_apart_always_stop_it(
    work_lists: Path, tmp_path: Path, old: str, new: str, named: str
) -> None:
    study = tmp_path / "lists"
    shutil.copytree(work_lists, study)
    for session in (1, 2):
        _fill(study, session, lambda row, reader: "3")
    sheet = study / SESSIONS[1] / "answers_R1.csv"
    sheet.write_text(sheet.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    result = _invoke("collect", study, "--out", tmp_path / "readings.csv", "--incomplete")
    assert result.exit_code == 1
    assert named in result.output
    assert not (tmp_path / "readings.csv").exists()


def test_empty_sheets_are_no_answers(work_lists: Path, tmp_path: Path) -> None:
    result = _invoke("collect", work_lists, "--out", tmp_path / "readings.csv")
    assert result.exit_code == 1
    assert "no answers yet" in result.output
