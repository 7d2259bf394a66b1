"""Figures by scanner, category and size, and reasons where a figure would say nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from model_export.dataset import LabelledImage
from model_export.evaluation import Scored
from model_export.statistics import AucInterval, Proportion
from model_export.subgroups import FEWEST, subgroups


def _scored(
    columns: Sequence[dict[str, str]], labels: Sequence[int], shares: Sequence[float] | None = None
) -> Scored:
    random = np.random.default_rng(3)
    images = tuple(
        LabelledImage(f"{n}.png", Path(f"{n}.png"), None, label, f"p{n}", values)
        for n, (label, values) in enumerate(zip(labels, columns, strict=True))
    )
    truth = np.array(labels, dtype=np.int64)
    nothing = np.full(truth.size, math.nan)
    scores = np.clip(0.35 + 0.25 * truth + random.normal(0, 0.2, truth.size), 0, 1)
    lesion = nothing if shares is None else np.array(shares)
    return Scored(images, truth, scores, nothing, nothing, lesion)


def test_each_scanner_has_the_figures_of_its_own_images() -> None:
    columns = [{"device": "B"}] * 40 + [{"device": "A"}] * 30 + [{"device": ""}] * 2
    scored = _scored(columns, [0, 1] * 36)
    first, second, third = subgroups(scored, "device", threshold=0.5)
    assert [first.name, second.name, third.name] == ["A", "B", "not given"]
    assert (first.images, first.patients, first.malignant) == (30, 30, 15)
    labels, scores = scored.labels[40:70], scored.scores[40:70]
    assert isinstance(first.auc, AucInterval)
    assert first.auc.auc == pytest.approx(roc_auc_score(labels, scores))
    assert first.sensitivity == Proportion(int((scores[labels == 1] >= 0.5).sum()), 15)
    assert first.specificity == Proportion(int((scores[labels == 0] < 0.5).sum()), 15)


def test_one_class_or_too_few_is_said_instead_of_a_number() -> None:
    columns = [{"birads": "2"}] * 20 + [{"birads": "5"}] * 12 + [{"birads": "4a"}] * 20
    labels = [0] * 20 + [1] * 12 + [1] * (FEWEST - 1) + [0] * (21 - FEWEST)
    two, four, five = subgroups(_scored(columns, labels), "birads", 0.5)
    assert [two.name, four.name, five.name] == ["2", "4a", "5"]
    assert (two.auc, two.sensitivity) == ("benign only", "none malignant")
    assert isinstance(two.specificity, Proportion)
    assert (five.auc, five.specificity) == ("malignant only", "none benign")
    assert four.auc == "too few (9 malignant, 11 benign)"
    assert four.sensitivity == "too few (9)"
    assert isinstance(four.specificity, Proportion)


def test_size_is_the_diameter_where_it_is_given() -> None:
    diameters = ["10", "10.5", "20", "31", "", "unknown"]
    scored = _scored([{"diameter_mm": text} for text in diameters], [0, 1] * 3, [0.1] * 6)
    groups = subgroups(scored, "size", 0.5)
    assert [(group.name, group.images) for group in groups] == [
        ("≤ 10 mm", 1),
        ("> 10–20 mm", 2),
        ("> 20 mm", 1),
        ("not given", 2),
    ]


def test_size_is_else_the_lesions_share_in_thirds() -> None:
    shares = [0.01, 0.02, 0.2, 0.3, 0.04, 0.05, math.nan]
    groups = subgroups(_scored([{}] * 7, [0, 1] * 3 + [0], shares), "size", 0.5)
    assert [group.images for group in groups] == [2, 2, 2, 1]
    assert groups[0].name.startswith("≤ ")
    assert groups[-1].name == "not given"


@pytest.mark.parametrize("column", ["device", "size"])
def test_what_the_manifest_does_not_tell_has_no_subgroups(column: str) -> None:
    assert subgroups(_scored([{}] * 4, [0, 1, 0, 1]), column, 0.5) == []
