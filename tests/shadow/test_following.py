"""A shadow scores what has its result, when nothing else is to be done, and harms nobody."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.analysis.analyser import Analyser
from service.analysis.model_package import ModelPackageError
from service.exchange import ChildDied
from service.journal.records import ImageState
from service.journal.shadow_records import Said, ShadowState
from service.sections import AnalysisSettings
from service.shadow.scorer import ShadowFailed, ShadowScorer, ShadowUnusable
from service.still_image import wrap_pixels
from tests.analysis.conftest import brightness_model, speckle, write_package

from .conftest import Site, raising, slow, steeper, tissue

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def counted(site: Site, outcome: str) -> float | None:
    name = "secondread_shadow_images_total"
    return site.metrics.registry.get_sample_value(name, {"outcome": outcome})


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    path = tmp_path / "image.dcm"
    tissue().save_as(path, enforce_file_format=True)
    return path


def state_of(pid: int) -> str:
    """``T``: stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def scorer(folder: Path, model, **options: Any) -> ShadowScorer:
    package = write_package(folder / "package", model)
    settings = AnalysisSettings(threads=1, decode_seconds=20, decode_megabytes=1024)
    return ShadowScorer(package.folder, settings, folder / "engines", **options)


def test_the_child_says_what_the_analysis_would_say(tmp_path: Path, image_file: Path) -> None:
    with closing(scorer(tmp_path, steeper())) as shadow:
        said = shadow.score(image_file)
        settings = AnalysisSettings(model=tmp_path / "package", threads=1)
        with closing(Analyser(settings)) as analyser:
            outcome = analyser.analyse(image_file, revision=0, started_at=NOW).outcome
    assert said == Said(
        ShadowState.SCORED,
        None,
        outcome.probability_malignant,
        outcome.probability_benign,
        outcome.threshold,
        outcome.decision,
    )


def test_the_child_scores_itself_where_a_triton_server_runs_the_active_model(
    tmp_path: Path, image_file: Path
) -> None:
    package = write_package(tmp_path / "package", steeper())
    settings = AnalysisSettings.model_validate(
        {"threads": 1, "require_gpu": True, "triton": {"url": "grpc://127.0.0.1:9"}}
    )
    with closing(ShadowScorer(package.folder, settings, tmp_path / "engines")) as shadow:
        assert shadow.provider == "CPUExecutionProvider"
        assert shadow.score(image_file).state is ShadowState.SCORED


def test_the_child_gives_way_to_every_other_process(tmp_path: Path) -> None:
    with closing(scorer(tmp_path, brightness_model())) as shadow:
        threads = [int(path.name) for path in Path(f"/proc/{shadow.pid}/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}
        assert Path(f"/proc/{shadow.pid}/oom_score_adj").read_text().strip() == "1000"


def test_a_file_that_it_breaks_off_on_does_not_end_the_child(
    tmp_path: Path, image_file: Path
) -> None:
    black = tmp_path / "black.dcm"
    wrap_pixels(speckle(240, 320) // 8, "black").save_as(black, enforce_file_format=True)
    with closing(scorer(tmp_path, raising())) as shadow:
        with pytest.raises(ShadowFailed, match=r"InferenceError at inference\.py"):
            shadow.score(image_file)
        assert shadow.score(black).state is ShadowState.SCORED


def test_a_file_that_takes_too_long_is_not_waited_for(tmp_path: Path, image_file: Path) -> None:
    with (
        closing(scorer(tmp_path, slow(), image_seconds=0.5)) as shadow,
        pytest.raises(TimeoutError),
    ):
        shadow.score(image_file)


def test_while_it_holds_still_its_time_does_not_pass(tmp_path: Path, image_file: Path) -> None:
    asked: list[str] = []

    def must_wait() -> bool:
        asked.append(state_of(shadow.pid) if loaded else "")
        return loaded and len(asked) < 10

    loaded = False
    with closing(scorer(tmp_path, slow(), must_wait=must_wait, image_seconds=0.5)) as shadow:
        loaded = True
        asked.clear()
        with pytest.raises(TimeoutError):
            shadow.score(image_file)
        assert set(asked[2:10]) == {"T"}
        assert "T" not in asked[11:]


def test_a_child_that_was_killed_is_noticed(tmp_path: Path, image_file: Path) -> None:
    with closing(scorer(tmp_path, brightness_model())) as shadow:
        os.kill(shadow.pid, signal.SIGKILL)
        with pytest.raises(ChildDied):
            shadow.score(image_file)


def test_a_package_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShadowUnusable, match="not a model package"):
        ShadowScorer(tmp_path, AnalysisSettings(), tmp_path)


def analysed(site: Site, number: int = 1) -> str:
    """The key of an image that has its result."""
    key = site.receive(tissue(number))
    site.analyse(key)
    return key


def test_results_are_the_same_byte_for_byte_with_and_without_a_shadow(
    make_site: Callable[..., Site],
) -> None:
    alone, followed = make_site(lambda: NOW), make_site(lambda: NOW)
    followed.follow(steeper())
    for site in (alone, followed):
        key = analysed(site)
        site.look()
    assert alone.said(key) is None
    assert followed.said(key) is not None
    assert len(alone.results(key)) == 3
    assert followed.results(key) == alone.results(key)
    rows = [site.journal.image(key) for site in (alone, followed)]
    outcomes = [row.outcome for row in rows if row is not None and row.outcome is not None]
    first, second = ({**vars(each), "stage_seconds": None} for each in outcomes)
    assert first == second
    files = {path.name for path in followed.spool.root.rglob("*") if path.is_file()}
    assert files == {path.name for path in alone.spool.root.rglob("*") if path.is_file()}


def test_it_scores_what_came_before_it_was_named_and_is_counted(site: Site) -> None:
    key = analysed(site)
    site.follow(steeper())
    with site.follower() as follower:
        follower.look()
        ((name, version, *_),) = site.metrics.shadow_model._metrics
        assert (name, version) == ("brightness", "2")
        site.store.set_shadow(None)
        follower.look()
        assert site.metrics.shadow_model._metrics == {}
    row = site.journal.image(key)
    assert row is not None
    assert row.outcome is not None
    said = site.said(key)
    assert said is not None
    assert said.probability_malignant != row.outcome.probability_malignant
    assert counted(site, "scored") == 1


def test_it_does_nothing_while_an_image_waits_for_its_analysis(site: Site) -> None:
    first = analysed(site, 1)
    second = site.receive(tissue(2))
    site.follow(steeper())
    with site.follower() as follower:
        follower.look()
        assert not site.has_begun(first)
        site.analyse(second)
        follower.look()
        assert site.said(first)
        assert site.said(second)


def test_an_image_that_comes_meanwhile_stops_it_until_it_is_analysed(
    site: Site, eventually: Callable[..., None]
) -> None:
    first = analysed(site, 1)
    site.follow(slow())
    with site.follower() as follower:
        follower.start()
        eventually(lambda: site.has_begun(first), 60)
        assert follower._loaded is not None
        child = follower._loaded.scorer.pid
        second = site.receive(tissue(2))
        eventually(lambda: state_of(child) == "T")
        site.analyse(second)
        eventually(lambda: state_of(child) != "T")


def test_what_the_model_cannot_analyse_is_kept_with_the_reason(site: Site) -> None:
    data_set = tissue()
    data_set.BodyPartExamined = "LIVER"
    key = site.receive(data_set)
    site.analyse(key)
    site.follow(steeper())
    site.look()
    assert site.said(key) == Said(ShadowState.NOT_ANALYSABLE, "other-body-part")


def test_a_shadow_that_breaks_off_is_counted_and_logged_and_goes_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [analysed(site, number) for number in (1, 2)]
    site.follow(raising())
    with caplog.at_level(logging.ERROR):
        site.look()
    assert {site.said(key) for key in keys} == {Said(ShadowState.FAILED, "broke-off")}
    assert counted(site, "failed") == 2
    for key in keys:
        assert any(
            f"{key} shadow: it broke off: InferenceError" in text for text in caplog.messages
        )
        row = site.journal.image(key)
        assert row is not None
        assert row.state is ImageState.ANALYSED


def test_a_shadow_that_is_too_slow_is_ended(site: Site) -> None:
    key = analysed(site)
    site.follow(slow())
    site.look(image_seconds=0.5)
    assert site.said(key) == Said(ShadowState.FAILED, "too-slow")


def test_a_shadow_that_is_stopped_leaves_its_image_for_later(
    site: Site, eventually: Callable[..., None]
) -> None:
    key = analysed(site)
    site.follow(slow())
    with site.follower() as follower:
        follower.start()
        eventually(lambda: site.has_begun(key))
    assert not site.has_begun(key)


def test_an_image_that_is_no_longer_in_the_spool_is_told(site: Site) -> None:
    key = analysed(site)
    site.spool.image_path(key).unlink()
    site.follow(steeper())
    site.look()
    assert site.said(key) == Said(ShadowState.FAILED, "not-in-spool")


def test_a_shadow_whose_package_is_gone_is_said_once_and_harms_nobody(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, eventually
) -> None:
    monkeypatch.setattr("service.shadow.follower._AGAIN_SECONDS", 0)
    key = analysed(site)
    site.follow(steeper())
    shutil.rmtree(site.store.folder / str(site.store.state().shadow))
    looked: list[bool] = []
    package = site.store.package
    monkeypatch.setattr(site.store, "package", lambda name: looked.append(True) or package(name))
    with caplog.at_level(logging.ERROR), site.follower() as follower:
        follower.start()
        eventually(lambda: len(looked) > 1)
    (line,) = caplog.messages
    assert "the shadow cannot follow: the model" in line
    assert "is not installed here" in line
    assert not site.has_begun(key)


def test_the_shadow_stays_installed_and_the_active_model_is_no_shadow_of_itself(site: Site) -> None:
    with pytest.raises(ModelPackageError, match="has the active model's"):
        site.follow(brightness_model())
    site.follow(steeper())
    shadow = site.store.state().shadow
    assert shadow is not None
    with pytest.raises(ModelPackageError, match="is the shadow: it stays"):
        site.store.remove(shadow)
    site.store.activate(shadow)
    assert site.store.state().shadow is None
