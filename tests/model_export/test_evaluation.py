"""``evaluate`` and ``compare``, from run folders to their tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score
from typer.testing import CliRunner

from model_export.calibration import OperatingPoint
from model_export.cli.app import app
from model_export.dataset import LabelledImage, read_manifest, select
from model_export.evaluation import Scored, judge, judge_by_patient
from model_export.prediction import load_predictor
from model_export.provenance import TRAINING_MARK, UNKNOWN_MARK, VALIDATION_MARK


def _call(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, [command, *map(str, arguments)])


def _middle(run: Path, data: Path) -> float:
    """A threshold that parts the test images, as an untrained network's scores lie close."""
    images = select(read_manifest(data), "split=test")
    return float(np.median(load_predictor(run).probabilities([i.pixels() for i in images])))


@pytest.fixture
def run(study_data: Path, make_run: Callable[..., Path], tmp_path: Path) -> Path:
    threshold = _middle(make_run(tmp_path / "first"), study_data)
    return make_run(tmp_path / "run", threshold=threshold)


def test_evaluate_tells_scikit_learns_figures(run: Path, study_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = _call("evaluate", run, "--data", study_data, "--where", "split=test", "--out", out)
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    with (out / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    labels = np.array([row["label"] == "malignant" for row in rows])
    scores = np.array([float(row["score"]) for row in rows])
    called = scores >= report["operating_point"]["threshold"] - 1e-6
    figures = report["evaluation"]
    assert report["mark"] is None
    assert (figures["images"], figures["patients"], figures["malignant"]) == (12, 6, 6)
    assert 0 < called.sum() < 12
    assert figures["auc"]["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert figures["accuracy"]["value"] == pytest.approx(accuracy_score(labels, called))
    assert figures["sensitivity"]["value"] == pytest.approx(recall_score(labels, called))
    assert figures["specificity"]["value"] == pytest.approx(recall_score(~labels, ~called))
    assert figures["f1"] == pytest.approx(f1_score(labels, called))
    assert figures["masked"] == 12
    assert (out / "roc.svg").is_file()


def test_evaluate_refuses_training_images_unless_told(
    run: Path, study_data: Path, tmp_path: Path
) -> None:
    arguments = ("evaluate", run, "--data", study_data, "--where", "split=train,test")
    refused = _call(*arguments, "--out", tmp_path / "refused")
    assert isinstance(refused.exception, ValueError)
    assert "trained on 8 of these 20 images" in str(refused.exception)
    assert not (tmp_path / "refused").exists()
    marked = _call(*arguments, "--out", tmp_path / "marked", "--training-set")
    assert marked.exit_code == 0, marked.output
    for name in ("report.md", "report.json", "scores.csv"):
        assert f"{TRAINING_MARK} (8 of 20)" in (tmp_path / "marked" / name).read_text()


def test_evaluate_marks_validation_images(run: Path, study_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = _call(
        "evaluate", run, "--data", study_data, "--where", "split=validation", "--out", out
    )
    assert result.exit_code == 0, result.output
    assert json.loads((out / "report.json").read_text())["mark"] == VALIDATION_MARK


def test_compare_tells_scikit_learns_figures_and_marks_training_rows(
    run: Path, study_data: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    other, out = make_run(tmp_path / "other", seed=1), tmp_path / "out"
    options = ("--train", "split=train", "--test", "split=test", "--out", out)
    result = _call("compare", run, other, "--data", study_data, *options)
    assert result.exit_code == 0, result.output
    content = json.loads((out / "compare.json").read_text())
    rows = {(row["model"], row["images"]): row for row in content["rows"]}
    assert len(rows) == 4
    for images, mark in (("train", TRAINING_MARK), ("test", "")):
        with (out / f"scores_{images}.csv").open() as stream:
            lines = list(csv.DictReader(stream))
        labels = np.array([line["label"] == "malignant" for line in lines])
        for model in {model for model, _ in rows}:
            row = rows[model, images]
            scores = np.array([float(line[model]) for line in lines])
            called = scores >= row["threshold"] - 1e-6
            precision = precision_score(labels, called, zero_division=np.nan)
            assert row["mark"] == mark
            assert row["auc"]["auc"] == pytest.approx(roc_auc_score(labels, scores))
            assert row["accuracy"]["value"] == pytest.approx(accuracy_score(labels, called))
            assert row["sensitivity"]["value"] == pytest.approx(recall_score(labels, called))
            if called.any():
                assert row["precision"]["value"] == pytest.approx(precision)
    (pair,) = content["delong"]
    difference = (
        rows[pair["first"], "test"]["auc"]["auc"] - rows[pair["second"], "test"]["auc"]["auc"]
    )
    assert pair["images"] == "test"
    assert pair["test"]["difference"] == pytest.approx(difference)
    assert TRAINING_MARK in (out / "table2.csv").read_text()


def test_compare_refuses_a_model_that_was_trained_on_the_test_set(
    run: Path, study_data: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    """The model lists one test image; its patient's other view counts as seen."""
    first = select(read_manifest(study_data), "split=test")[0]
    leaked = make_run(tmp_path / "leaked", training=f"file={first.file}")
    out = tmp_path / "out"
    options = ("--train", "split=train", "--test", "split=test", "--out", out)
    result = _call("compare", run, leaked, "--data", study_data, *options)
    assert isinstance(result.exception, ValueError)
    assert "was trained on 2 of these 12 images" in str(result.exception)
    assert not out.exists()


def test_evaluate_warns_where_it_could_not_be_checked(
    study_data: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    old, out = make_run(tmp_path / "old", training=None, validation=None), tmp_path / "out"
    result = _call("evaluate", old, "--data", study_data, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.output.count("WARNING") == 1 + len(("device", "birads", "size"))
    page = (out / "report.md").read_text()
    assert page.count(f": {UNKNOWN_MARK}\n") == page.count("\n## ") == 4


def test_another_operating_point_is_chosen_by_its_name(
    run: Path, study_data: Path, tmp_path: Path
) -> None:
    arguments = ("evaluate", run, "--data", study_data, "--where", "split=test")
    out = tmp_path / "out"
    result = _call(*arguments, "--operating-point", "youden", "--out", out)
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert report["evaluation"]["operating_point"] == "youden"
    assert report["evaluation"]["threshold"] == 0.9
    assert report["evaluation"]["precision"] is None
    wrong = _call(*arguments, "--operating-point", "best")
    assert "no operating point 'best'; it has sensitive, youden" in str(wrong.exception)


@pytest.mark.parametrize("more", [[], ["--training-set"]])
def test_a_card_holds_no_training_figures_and_a_run_has_no_card(
    run: Path, study_data: Path, more: list[str]
) -> None:
    result = _call("evaluate", run, "--data", study_data, "--record", "title", *more)
    expected = "no figures on training images" if more else "writes into a model package"
    assert expected in str(result.exception)


def test_two_views_of_a_patient_widen_the_interval_by_patient() -> None:
    """Each image doubled: figures stay, the interval over images shrinks, the other does not."""
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], 40)
    scores = np.clip(0.4 + 0.2 * labels + random.normal(0, 0.2, 80), 0, 1)

    def scored(views: int) -> Scored:
        nothing = np.full(80 * views, np.nan)
        images = tuple(
            LabelledImage(f"{n}-{view}.png", Path("x.png"), None, int(label), f"p{n}")
            for n, label in enumerate(labels)
            for view in range(views)
        )
        truth = np.repeat(labels, views)
        return Scored(images, truth, np.repeat(scores, views), nothing, nothing, nothing)

    point = OperatingPoint("sensitive", 0.5, "by hand", 0.95, 0.5)
    one, two = judge(scored(1), point), judge(scored(2), point)
    assert one.auc_by_patient is None
    assert judge_by_patient(scored(1), 0.5) is None
    assert two.auc_by_patient is not None
    assert two.auc.auc == two.auc_by_patient.auc == pytest.approx(one.auc.auc)
    width = one.auc.upper - one.auc.lower
    assert two.auc.upper - two.auc.lower == pytest.approx(width / np.sqrt(2), rel=0.05)
    by_patient = two.auc_by_patient.upper - two.auc_by_patient.lower
    assert by_patient == pytest.approx(width, rel=0.15)
    shares = judge_by_patient(scored(2), 0.5)
    assert shares is not None
    assert shares.sensitivity is not None
    assert shares.sensitivity.value == pytest.approx(one.sensitivity.value)
    assert shares.sensitivity.upper - shares.sensitivity.lower > 1.2 * (
        two.sensitivity.upper - two.sensitivity.lower
    )


def test_compare_judges_on_another_hospital_and_adjusts_p_by_holm(
    run: Path, study_data: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    runs = [run, *(make_run(tmp_path / f"m{seed}", seed=seed) for seed in (1, 2))]
    external, out = tmp_path / "elsewhere", tmp_path / "out"
    external.mkdir()
    rows = ["file,label,patient_id"]
    for image in select(read_manifest(study_data), "split=test"):
        name = f"{image.path.stem}.png"
        # Other bytes, as another hospital's images have.
        Image.open(image.path).rotate(180).save(external / name)
        rows.append(f"{name},{image.columns['label']},{image.patient}")
    (external / "manifest.csv").write_text("\n".join(rows) + "\n")
    options = ("--train", "split=train", "--test", "split=test", "--external", external)
    result = _call("compare", *runs, "--data", study_data, *options, "--out", out)
    assert result.exit_code == 0, result.output
    content = json.loads((out / "compare.json").read_text())
    assert {row["images"] for row in content["rows"]} == {"train", "test", "external"}
    for images in ("test", "external"):
        pairs = [pair for pair in content["delong"] if pair["images"] == images]
        plain = sorted(pair["test"]["p_value"] for pair in pairs)
        assert len(pairs) == 3
        assert min(pair["adjusted"] for pair in pairs) == pytest.approx(min(1, 3 * plain[0]))
        assert (out / f"roc_{images}.png").is_file()
        assert (out / f"delong_{images}.csv").is_file()
