"""``lesions``: two views of a lesion are one case."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from dicom_sr.fusion import FusionRule
from model_export.cli.app import app
from model_export.dataset import LabelledImage, read_manifest, select
from model_export.lesions import judge_per_lesion, lesions_of, with_several_views
from model_export.prediction import load_predictor


def image(patient: str, label: int, **columns: str) -> LabelledImage:
    columns = {"patient_id": patient} | columns
    return LabelledImage("a.jpg", Path("a.jpg"), None, label, patient, columns)


def test_a_column_of_the_manifest_tells_lesions_apart() -> None:
    images = [
        image("a", 0, lesion="1"),
        image("b", 1, lesion="2"),
        image("a", 0, lesion="1"),
        image("a", 1, lesion="3"),
    ]
    found = lesions_of(images, "lesion")
    assert [lesion.views for lesion in found] == [(0, 2), (1,), (3,)]
    assert [lesion.label for lesion in found] == [0, 1, 1]
    assert [lesion.views for lesion in with_several_views(found)] == [(0, 2)]


@pytest.mark.parametrize(
    ("images", "column", "words"),
    [
        ([image("a", 0)], "lesion", "no column 'lesion'; it has patient_id"),
        ([image("a", 0), image("a", 1)], "patient_id", "names no lesions"),
        ([image("a", 0, side="left"), image("b", 0, side="left")], "side", "names no lesions"),
        ([image("a", 0, lesion=" ")], "lesion", "row 1 has no lesion"),
    ],
)
def test_a_column_that_names_no_lesions_is_refused(images, column, words) -> None:
    with pytest.raises(ValueError, match=words):
        lesions_of(images, column)


def test_the_figures_are_those_of_scikit_learn_on_fused_scores() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 60)
    views = random.integers(1, 4, 60)
    images = [
        image(f"p{number}", int(label))
        for number, (label, count) in enumerate(zip(labels, views, strict=True))
        for _ in range(count)
    ]
    truth = np.array([each.label for each in images])
    scores = np.clip(0.4 * truth + random.random(truth.size) * 0.6, 0, 1)
    lesions = lesions_of(images, "patient_id")
    found = judge_per_lesion(lesions, scores, 0.5, FusionRule.MAXIMUM)
    highest = np.array([max(scores[list(lesion.views)]) for lesion in lesions])
    per_lesion, per_image = roc_auc_score(labels, highest), roc_auc_score(truth, scores)
    assert found.auc.per_lesion.value == pytest.approx(per_lesion)
    assert found.auc.per_image.value == pytest.approx(per_image)
    assert found.auc.difference.value == pytest.approx(per_lesion - per_image)
    assert found.auc.difference.lower < found.auc.difference.value < found.auc.difference.upper
    assert found.sensitivity.per_lesion.value == pytest.approx((highest[labels == 1] >= 0.5).mean())
    assert found.specificity.per_image.value == pytest.approx((scores[truth == 0] < 0.5).mean())
    assert (found.images, found.lesions) == (views.sum(), 60)
    assert found.several_views == (views > 1).sum()


def test_where_no_view_is_fused_nothing_differs() -> None:
    images = [image(f"p{number}", number % 2) for number in range(40)]
    scores = np.random.default_rng(1).random(40)
    found = judge_per_lesion(lesions_of(images, "patient_id"), scores, 0.5, FusionRule.MAXIMUM)
    for figure in (found.auc, found.sensitivity, found.specificity):
        assert figure.per_image == figure.per_lesion
        assert (figure.difference.lower, figure.difference.upper) == (0, 0)


def test_the_command_writes_table_and_json(
    study_data: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    arguments = ["lesions", run, "--data", study_data, "--where", "split=test", "--out", out]
    rules = ["--rule", "maximum", "--rule", "mean of logits"]
    result = CliRunner().invoke(app, [*map(str, arguments), *rules])
    assert result.exit_code == 0, result.output
    report = json.loads((out / "lesions.json").read_text())
    assert [each["rule"] for each in report["all_lesions"]] == ["maximum", "mean of logits"]
    images = select(read_manifest(study_data), "split=test")
    scores = load_predictor(run).probabilities([each.pixels() for each in images])
    labels = np.array([each.label for each in images])
    figures = report["all_lesions"][0]
    assert (figures["images"], figures["lesions"], figures["several_views"]) == (12, 6, 6)
    assert figures["auc"]["per_image"]["value"] == pytest.approx(roc_auc_score(labels, scores))
    page = (out / "lesions.md").read_text()
    assert "mean of logits | AUC" in page
    assert "bootstrap by patient" in page


def test_the_command_refuses_what_it_cannot_judge(
    study_data: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    call = ["lesions", str(run), "--data", str(study_data)]
    trained = CliRunner().invoke(app, [*call, "--where", "split=train"])
    assert "trained on" in str(trained.exception)
    alone = CliRunner().invoke(app, [*call, "--where", "split=test", "--by", "file"])
    assert "nothing to fuse" in str(alone.exception)
