"""A worker changes its models while it works, and no study is scored by two."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.analysis.analyser import Analyser
from service.analysis.choosing_model import Choice, position
from service.analysis.inference import InferenceError
from service.analysis.model_package import MANIFEST_FILE, MODEL_FILE, ModelPackage, file_sha256
from service.analysis.model_store import Canary, ModelStore
from service.analysis.models_in_hand import AskedModelMissing, ModelsInHand
from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import AnalysisJob
from service.monitoring.metrics import Metrics
from service.sections import AnalysisSettings


class Site:
    """A store, a journal, and workers that share both; they look when they are told to."""

    def __init__(self, folder: Path, package: ModelPackage) -> None:
        analysis = AnalysisSettings(model=package.folder, threads=1, decode_seconds=20)
        self.folder = folder
        self.package = package
        self.settings = Settings(data_dir=folder / "data", analysis=analysis)
        self.store = ModelStore(self.settings)
        self.journal = Journal(self.settings.journal_url)
        self.journal.migrate()
        self.configured = self.store.sha256_of(None)
        self.unloadable: set[str] = set()
        self.away: set[str] = set()
        self.closing = ExitStack()
        self.closing.callback(self.journal.close)

    def installed(self, version: str) -> str:
        """The package once more under another version; its digest."""
        source = self.folder / f"version-{version}"
        shutil.copytree(self.package.folder, source)
        with (source / MODEL_FILE).open("ab") as model:
            model.write(b"\x72\x00")  # the graph's metadata, empty: another file, the same model
        sha256 = file_sha256(source / MODEL_FILE)
        changes = {"version": version, "sha256": sha256}
        manifest = self.package.manifest.model_copy(update=changes)
        (source / MANIFEST_FILE).write_text(manifest.model_dump_json())
        return self.store.install(source, lambda _: None).sha256

    def worker(
        self, idle_seconds: float = 300, patience_seconds: float = 0
    ) -> tuple[ModelsInHand, Metrics]:
        metrics = Metrics()

        def load(package: ModelPackage) -> Analyser:
            if package.manifest.version in self.unloadable:
                raise InferenceError("not on this machine")
            analyser = Analyser(self.settings.analysis, package=package)
            if package.manifest.version in self.away:
                analyser.what_is_wrong = lambda: "the server does not have it"
            return analyser

        models = ModelsInHand(
            ModelStore(self.settings),
            self.journal,
            load,
            metrics,
            look_seconds=3600,
            idle_seconds=idle_seconds,
            patience_seconds=patience_seconds,
        )
        self.closing.callback(models.close)
        return models, metrics


@pytest.fixture
def site(tmp_path: Path, package: ModelPackage) -> Iterator[Site]:
    site = Site(tmp_path, package)
    with site.closing:
        yield site


def job(study: str | None = "1.2.3", **changes: object) -> AnalysisJob:
    now = datetime.now(UTC)
    made = AnalysisJob("0" * 32, 0, 0, "0" * 32, None, now, now, 1, "", study_instance_uid=study)
    return replace(made, **changes)


def version_of(models: ModelsInHand, wanted: AnalysisJob) -> str:
    with models.analyser_for(wanted) as analyser:
        return analyser.package.manifest.version


def refused(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("secondread_model_refused")


def loaded(metrics: Metrics) -> dict[str, float]:
    return {each.labels["version"]: each.value for each in metrics.model.collect()[0].samples}


def test_new_studies_get_what_was_activated_and_begun_ones_keep_theirs(site: Site) -> None:
    second = site.installed("2")
    models, metrics = site.worker()
    assert version_of(models, job("1.2.1")) == "1"
    site.store.activate(second)
    models.look()
    assert version_of(models, job("1.2.2")) == "2"
    assert version_of(models, job("1.2.1")) == "1"
    assert loaded(metrics) == {"1": 0, "2": 1}
    assert refused(metrics) == 0
    site.store.rollback()
    models.look()
    assert version_of(models, job("1.2.3")) == "1"
    assert version_of(models, job("1.2.2")) == "2"


def test_the_old_model_is_closed_once_nobody_uses_it(site: Site) -> None:
    models, metrics = site.worker(idle_seconds=0)
    site.store.activate(site.installed("2"))
    with models.analyser_for(job("1.2.1")) as analyser:
        models.look()
        assert loaded(metrics) == {"1": 0, "2": 1}
        assert analyser.package.manifest.version == "1"
    models.look()
    assert loaded(metrics) == {"2": 1}
    assert version_of(models, job("1.2.1")) == "1", "it is loaded again for a late image"


def test_two_workers_agree_on_a_new_study_in_mid_change(site: Site) -> None:
    """One has taken up the change, the other has not."""
    second = site.installed("2")
    slow, _ = site.worker()
    site.store.activate(second)
    quick, _ = site.worker()
    assert version_of(slow, job("1.2.1")) == version_of(quick, job("1.2.1")) == "1"
    assert version_of(quick, job("1.2.2")) == version_of(slow, job("1.2.2")) == "2"
    start = threading.Barrier(2)

    def race(models: ModelsInHand, study: str) -> str:
        start.wait(10)
        return version_of(models, job(study))

    with ThreadPoolExecutor(2) as threads:
        for number in range(20):
            both = [threads.submit(race, each, f"1.2.3.{number}") for each in (slow, quick)]
            assert len({future.result() for future in both}) == 1


def test_a_model_that_cannot_be_loaded_leaves_the_old_one_working(site: Site) -> None:
    second = site.installed("2")
    models, metrics = site.worker()
    site.unloadable = {"2"}
    site.store.activate(second)
    models.look()
    assert version_of(models, job("1.2.1")) == "1"
    assert (refused(metrics), loaded(metrics)) == (1, {"1": 1})
    site.store.rollback()
    models.look()
    assert (refused(metrics), loaded(metrics)) == (0, {"1": 1})


def test_a_model_that_its_server_does_not_run_leaves_the_old_one_working(site: Site) -> None:
    """As with Triton, where a model is loaded here and run there."""
    second = site.installed("2")
    models, metrics = site.worker()
    site.away = {"2"}
    site.store.activate(second)
    models.look()
    assert version_of(models, job("1.2.1")) == "1"
    assert refused(metrics) == 1


def test_a_worker_that_starts_waits_for_a_server_that_is_away(site: Site) -> None:
    site.store.activate(site.installed("2"))
    site.away = {"1", "2"}
    models, metrics = site.worker()
    assert version_of(models, job("1.2.1")) == "2"
    assert models.what_is_wrong() == "the server does not have it"
    assert refused(metrics) == 0


def test_a_state_that_is_damaged_leaves_the_old_one_working(site: Site) -> None:
    site.store.activate(site.installed("2"))
    models, metrics = site.worker()
    site.store.state_file.write_text("{")
    models.look()
    assert version_of(models, job("1.2.1")) == "2"
    assert refused(metrics) == 1


def test_a_worker_that_starts_with_a_bad_model_takes_the_one_before(site: Site) -> None:
    second = site.installed("2")
    site.store.activate(second)
    shutil.rmtree(site.store.folder / second)
    models, metrics = site.worker()
    assert version_of(models, job("1.2.1")) == "1"
    assert refused(metrics) == 1


def test_without_any_model_that_works_there_is_no_worker(site: Site) -> None:
    site.unloadable = {"1"}
    with pytest.raises(InferenceError):
        site.worker()


def test_a_study_whose_model_is_gone_goes_on_with_the_active_one(site: Site) -> None:
    second = site.installed("2")
    site.journal.choose_model("1.2.1", second)
    shutil.rmtree(site.store.folder / second)
    models, metrics = site.worker()
    assert version_of(models, job("1.2.1", study_model=second)) == "1"
    assert metrics.registry.get_sample_value("secondread_models_missing_total") == 1
    assert site.journal.choose_model("1.2.1", second) == site.configured


def test_a_model_that_a_shared_folder_shows_late_is_waited_for(site: Site) -> None:
    second = site.installed("2")
    hidden = site.folder / "hidden"
    (site.store.folder / second).rename(hidden)
    site.journal.choose_model("1.2.1", second)
    models, metrics = site.worker(patience_seconds=60)
    showing = threading.Timer(0.5, hidden.rename, [site.store.folder / second])
    showing.start()
    assert version_of(models, job("1.2.1", study_model=second)) == "2"
    assert metrics.registry.get_sample_value("secondread_models_missing_total") == 0


def test_a_study_that_was_begun_before_the_store_keeps_its_model(site: Site) -> None:
    second = site.installed("2")
    models, _ = site.worker()
    model_file = site.package.manifest.sha256
    site.store.activate(second)
    models.look()
    assert version_of(models, job("1.2.1", scored_by=model_file)) == "1"
    assert version_of(models, job("1.2.2", scored_by="f" * 64)) == "2"


def test_what_an_operator_asked_for_holds(site: Site) -> None:
    second = site.installed("2")
    models, _ = site.worker()
    site.journal.choose_model("1.2.1", site.configured)
    assert version_of(models, job("1.2.1", model_asked=second)) == "2"
    with pytest.raises(AskedModelMissing):
        version_of(models, job("1.2.1", model_asked="f" * 64))


def test_images_of_no_study_and_probes_get_the_active_model(site: Site) -> None:
    second = site.installed("2")
    canary = Canary(model=second, share=1)
    site.store.change(lambda state: state.model_copy(update={"canary": canary}))
    models, _ = site.worker()
    assert version_of(models, job(None)) == "1"
    assert version_of(models, job("1.2.1", probe=True)) == "1"
    assert version_of(models, job("1.2.1")) == "2"


# canary


def test_the_canary_gets_its_scanners_and_ends_when_it_is_switched_off(site: Site) -> None:
    canary = Canary(model=site.installed("2"), scanners=("ROOM1",))
    site.store.change(lambda state: state.model_copy(update={"canary": canary}))
    models, metrics = site.worker()
    assert loaded(metrics) == {"1": 1, "2": 0}
    assert version_of(models, job("1.2.1", calling_ae_title="ROOM1")) == "2"
    assert version_of(models, job("1.2.1", calling_ae_title="ROOM2")) == "2", "the same study"
    assert version_of(models, job("1.2.2", calling_ae_title="ROOM2")) == "1"
    site.store.change(lambda state: state.model_copy(update={"canary": None}))
    models.look()
    assert version_of(models, job("1.2.3", calling_ae_title="ROOM1")) == "1"


def test_a_canary_that_cannot_be_loaded_is_none(site: Site) -> None:
    canary = Canary(model=site.installed("2"), share=1)
    site.unloadable = {"2"}
    site.store.change(lambda state: state.model_copy(update={"canary": canary}))
    models, metrics = site.worker()
    assert version_of(models, job("1.2.1")) == "1"
    assert refused(metrics) == 1


def test_a_share_of_the_studies_is_that_share() -> None:
    choice = Choice("a" * 64, "b" * 64, 0.25)
    studies = [f"1.2.840.{number}" for number in range(4000)]
    chosen = [study for study in studies if choice.for_study(study, "ANY") == choice.canary]
    assert len(chosen) == pytest.approx(1000, abs=100)
    assert all(position(choice.canary, study) < 0.25 for study in chosen)
    other = [study for study in chosen if position("c" * 64, study) < 0.25]
    assert len(other) == pytest.approx(250, abs=60), "another canary gets other studies"


@pytest.mark.parametrize(("share", "wanted"), [(0.0, "a"), (1.0, "b")])
def test_none_and_all(share: float, wanted: str) -> None:
    choice = Choice("a", "b", share)
    assert {choice.for_study(f"1.2.{number}", "ANY") for number in range(100)} == {wanted}
