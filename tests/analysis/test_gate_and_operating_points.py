"""What a site chooses (the operating point), and what the model says of its own ignorance."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from service.analysis.analyser import Analyser, Analysis
from service.analysis.inference import Scorer
from service.analysis.model_package import ModelPackage, ModelPackageError, load_model_package
from service.analysis.verification import verify_model
from service.sections import AnalysisSettings
from service.still_image import wrap_pixels

WHEN = datetime(2026, 11, 24, tzinfo=UTC)


def _settings(package: ModelPackage, **changes: object) -> AnalysisSettings:
    return AnalysisSettings(
        model=package.folder, threads=1, decode_seconds=20, decode_megabytes=1024
    ).model_copy(update=changes)


@pytest.fixture(scope="module")
def gated_analyser(gated_package: ModelPackage) -> Iterator[Analyser]:
    analyser = Analyser(_settings(gated_package))
    yield analyser
    analyser.close()


def _grey(level: int) -> Dataset:
    pixels = np.full((96, 96, 3), level, dtype=np.uint8)
    pixels[::2] += 4
    dataset = wrap_pixels(pixels, f"grey {level}")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "BREAST", "0001"]
    return dataset


def _report(analysis: Analysis) -> str:
    """All texts of the Structured Report."""
    report = dcmread(BytesIO(dict(analysis.files)["sr.dcm"]))
    return "\n".join(str(item.value) for item in report.iterall() if item.keyword == "TextValue")


def test_the_distance_is_the_graphs(gated_package: ModelPackage) -> None:
    scorer = Scorer(gated_package, _settings(gated_package))
    dark, light = (np.full((64, 64), level, dtype=np.uint8) for level in (20, 200))
    assert scorer.score(dark).distance == pytest.approx(235, abs=2)
    assert scorer.score(light).distance == pytest.approx(55, abs=2)
    assert scorer.unlike_training(scorer.score(dark))
    assert not scorer.unlike_training(scorer.score(light))


def test_a_package_without_a_gate_flags_nothing(package: ModelPackage) -> None:
    scorer = Scorer(package, _settings(package))
    score = scorer.score(np.zeros((64, 64), dtype=np.uint8))
    assert score.distance is None
    assert not scorer.unlike_training(score)


def test_an_unlike_image_is_scored_and_flagged_in_its_report(
    gated_analyser: Analyser, saved: Callable[..., Path]
) -> None:
    analysis = gated_analyser.analyse(saved(_grey(30)), revision=0, started_at=WHEN)
    assert analysis.outcome.unlike_training
    assert analysis.outcome.probability_malignant is not None
    assert "unlike those that the model was trained on" in _report(analysis)


def test_a_site_may_refuse_an_unlike_image(
    gated_package: ModelPackage, saved: Callable[..., Path]
) -> None:
    settings = _settings(gated_package, unlike_training="refuse")
    with closing(Analyser(settings)) as analyser:
        analysis = analyser.analyse(saved(_grey(30)), revision=0, started_at=WHEN)
        like = analyser.analyse(saved(_grey(150)), revision=0, started_at=WHEN)
    assert analysis.outcome.reason == "unlike-training"
    assert analysis.outcome.objects == ("sr.dcm",)
    assert "unlike those that the model was trained on" in _report(analysis)
    assert like.outcome.probability_malignant is not None


def test_a_like_image_is_not_flagged(gated_analyser: Analyser, saved: Callable[..., Path]) -> None:
    analysis = gated_analyser.analyse(saved(_grey(150)), revision=0, started_at=WHEN)
    assert not analysis.outcome.unlike_training
    assert "unlike" not in _report(analysis)


@pytest.mark.parametrize(
    ("name", "threshold", "decision"),
    [("", 0.3, "malignant"), ("sensitive", 0.3, "malignant"), ("youden", 0.6, "benign")],
)
def test_the_site_chooses_the_operating_point(
    gated_package: ModelPackage,
    saved: Callable[..., Path],
    name: str,
    threshold: float,
    decision: str,
) -> None:
    analyser = Analyser(_settings(gated_package, operating_point=name))
    try:
        analysis = analyser.analyse(saved(_grey(110)), revision=0, started_at=WHEN)
    finally:
        analyser.close()
    assert 0.3 < (analysis.outcome.probability_malignant or 0) < 0.6
    assert analysis.outcome.threshold == threshold
    assert analysis.outcome.decision == decision


def test_an_operating_point_that_is_not_there_is_named(gated_package: ModelPackage) -> None:
    with pytest.raises(ModelPackageError, match=r"no operating point 'bold'.*sensitive, youden"):
        Analyser(_settings(gated_package, operating_point="bold"))


def test_the_command_line_says_so_in_one_line(
    gated_package: ModelPackage, saved: Callable[..., Path]
) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", "from service.cli import main; main()", "analyse",
         str(saved(_grey(90))), "--model", str(gated_package.folder)],
        env={"PATH": "/usr/bin", "SECONDREAD_ANALYSIS__OPERATING_POINT": "bold"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert answer.returncode == 2
    assert "no operating point 'bold'" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_default_that_is_not_the_first_point_is_refused(
    gated_package: ModelPackage, tmp_path: Path
) -> None:
    manifest = gated_package.manifest.model_copy(update={"threshold": 0.9})
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    with pytest.raises(ModelPackageError, match="that of the first operating point"):
        load_model_package(tmp_path)


def test_verify_asks_for_the_distance(gated_package: ModelPackage, package: ModelPackage) -> None:
    said = list(verify_model(gated_package, _settings(gated_package)))
    assert any("distance" in line for line in said)
    assert not any("distance" in line for line in verify_model(package, _settings(package)))
