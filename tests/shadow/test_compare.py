"""``secondread model compare`` tells of two models, and ``model shadow`` names one."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from model_export import statistics
from service.cli.app import app
from service.journal.shadow_records import Said, ScoringModel, ShadowState
from service.journal.truth_records import Diagnosis, Source, Subject, Truth
from service.monitoring.metrics import Metrics
from service.shadow.page import MOST_POINTS, page
from service.shadow.watch import ShadowWatch
from tests.analysis.conftest import brightness_model, write_package
from tests.truth.conftest import Site

from .conftest import steeper

CANDIDATE = ScoringModel("c" * 64, "candidate", "8")
OTHER = ScoringModel("d" * 64, "other", "9")


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.journal.close()


def say(site: Site, key: str, said: Said | float, model: ScoringModel = CANDIDATE) -> None:
    assert site.journal.begin_shadow(key, model)
    if isinstance(said, float):
        decision = "malignant" if said >= 0.5 else "benign"
        said = Said(ShadowState.SCORED, None, said, 1 - said, 0.5, decision)
    site.journal.record_shadow(key, model, said)


def tell(site: Site, study: int, malignant: bool) -> None:
    found = Diagnosis.MALIGNANT if malignant else Diagnosis.BENIGN
    site.journal.record_truth(
        Truth(Subject.STUDY, f"1.2.900.{study}", found, date(2026, 3, 9), Source.SURGERY, "me")
    )


def compare(site: Site, *arguments: str | Path) -> Result:
    environment = {"SECONDREAD_DATA_DIR": str(site.settings.data_dir), "COLUMNS": "200"}
    return CliRunner().invoke(app, ["model", "compare", *map(str, arguments)], env=environment)


def studies(site: Site, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """So many studies of one image, every other one malignant: truth and both scores."""
    random = np.random.default_rng(1)
    truth = np.arange(count) % 2 == 0
    active = np.round(np.clip(0.35 + 0.25 * truth + random.normal(0, 0.2, count), 0, 1), 3)
    shadow = np.round(np.clip(active + random.normal(0.02, 0.1, count), 0, 1), 3)
    for number in range(count):
        scanner = "A" if number < count - 3 else None
        key = site.analysed(number, float(active[number]), scanner_model=scanner)
        say(site, key, float(shadow[number]))
        tell(site, number, bool(truth[number]))
    return truth, active, shadow


def test_what_is_told_of_two_models(hospital: Site, tmp_path: Path) -> None:
    truth, active, shadow = studies(hospital, 40)
    site = hospital
    say(site, site.analysed(100, 0.7), Said(ShadowState.NOT_ANALYSABLE, "unlike-training"))
    say(site, site.analysed(101, 0.7), Said(ShadowState.FAILED, "died"))
    assert site.journal.begin_shadow(site.analysed(102, 0.7), CANDIDATE)
    answer = compare(site, "--json")
    assert answer.exit_code == 0, answer.output
    (told,) = json.loads(answer.stdout)
    assert told["active"] == {"name": "n", "version": "7", "model_sha256": "a" * 64}
    assert told["shadow"]["name"] == "candidate"
    assert (told["images"], told["only_active"], told["failed"]) == (43, 1, 2)
    assert told["reasons"] == {"unlike-training": 1, "died": 1, "broken-off": 1}
    all_of_them = told["agreement"]
    assert all_of_them["images"] == 40
    assert all_of_them["mean_difference"] == pytest.approx(float(np.mean(shadow - active)))
    assert all_of_them["same"] == int(np.sum((active >= 0.5) == (shadow >= 0.5)))
    assert not all_of_them["few"]
    assert {name: some["images"] for name, some in told["by_scanner"].items()} == {
        "A": 37,
        "unnamed": 3,
    }
    assert told["by_scanner"]["unnamed"]["few"]
    by_study, by_image = told["known"]
    assert (by_study["level"], by_study["malignant"], by_study["benign"]) == ("study", 20, 20)
    assert not by_study["few"]
    theirs = statistics.delong_test(truth.astype(np.int64), shadow, active)
    assert by_study["active"]["value"] == pytest.approx(theirs.second.auc)
    assert by_study["shadow"]["lower"] == pytest.approx(theirs.first.lower)
    assert by_study["difference"]["difference"]["value"] == pytest.approx(theirs.difference)
    assert by_study["difference"]["p_value"] == pytest.approx(theirs.p_value)
    assert by_image["difference"] == by_study["difference"]

    words = compare(site)
    assert words.exit_code == 0
    assert "shadow candidate 8, active n 7" in words.stdout
    assert "no score of the shadow: died 1" in words.stdout
    assert f"{by_study['active']['value']:.3f}" in words.stdout
    assert "say little" not in words.stdout


def test_of_few_images_it_says_that_they_are_too_few(hospital: Site) -> None:
    studies(hospital, 3)
    answer = compare(hospital)
    assert answer.exit_code == 0
    assert "too few: with fewer than 30 images" in answer.stdout
    assert "too few: an AUC of fewer than 10 malignant or 10 benign cases" in answer.stdout
    (told,) = json.loads(compare(hospital, "--json").stdout)
    assert told["known"][0]["active"] is None


def test_a_study_is_judged_by_its_highest_score_with_each_model(hospital: Site) -> None:
    for study, malignant in enumerate((True, True, False, False)):
        for number, score in ((1, 0.2), (2, 0.4 + 0.1 * study)):
            key = hospital.analysed(study, score, number)
            say(hospital, key, 0.9 if malignant and number == 1 else 0.1)
        tell(hospital, study, malignant)
    (told,) = json.loads(compare(hospital, "--json").stdout)
    by_study = told["known"][0]
    assert (by_study["active"]["value"], by_study["shadow"]["value"]) == (0, 1)
    assert by_study["difference"]["difference"]["value"] == 1


def test_one_shadow_of_several_is_chosen_by_name_or_digits_and_time(hospital: Site) -> None:
    key = hospital.analysed(1, 0.9)
    say(hospital, key, 0.8)
    say(hospital, key, 0.7, OTHER)
    today = datetime.now(UTC).date()
    yesterday, tomorrow = today - timedelta(days=1), today + timedelta(days=1)

    def shadows(*arguments: str) -> list[str]:
        return [told["shadow"]["name"] for told in json.loads(compare(hospital, *arguments).stdout)]

    assert sorted(shadows("--json")) == ["candidate", "other"]
    assert shadows("--json", "other@9") == ["other"]
    assert shadows("--json", "CCCC") == ["candidate"]
    assert shadows("--json", "ccc") == []
    assert shadows("--json", "--since", str(tomorrow)) == []
    assert shadows("--json", "--until", str(yesterday)) == []
    assert len(shadows("--json", "--since", str(yesterday), "--until", str(tomorrow))) == 2


def test_without_any_it_says_so(hospital: Site, tmp_path: Path) -> None:
    hospital.analysed(1, 0.9)
    for options, out in (([], ""), (["--json"], "[]\n")):
        answer = compare(hospital, *options, "--html", tmp_path / "page.html")
        assert (answer.exit_code, answer.stdout) == (1, out)
        assert "no shadow has looked at an image yet" in answer.stderr
    assert not (tmp_path / "page.html").exists()


def test_a_journal_that_is_not_there_and_a_page_that_cannot_be_written_are_one_line(
    hospital: Site, tmp_path: Path
) -> None:
    say(hospital, hospital.analysed(1, 0.9), 0.8)
    answer = compare(hospital, "--html", tmp_path / "nowhere" / "page.html")
    assert answer.exit_code == 1
    assert "page.html cannot be written: No such file or directory" in answer.stderr
    (tmp_path / "data" / "journal.sqlite3").unlink()
    answer = compare(hospital)
    assert answer.exit_code == 2
    assert "there is no journal" in answer.stderr


def test_the_page_draws_every_image_and_names_none(hospital: Site, tmp_path: Path) -> None:
    studies(hospital, 12)
    hostile = ScoringModel("e" * 64, "<script>alert(1)</script>", "1")
    say(hospital, hospital.analysed(50, 0.9), 0.1, hostile)
    file = tmp_path / "page.html"
    assert compare(hospital, "--html", file).exit_code == 0
    text = file.read_text()
    drawn = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    assert [len(svg.findall(".//circle")) for svg in drawn] == [1, 1, 12, 12]
    kinds = [circle.get("class") for circle in drawn[2].findall(".//circle")]
    assert (kinds.count("malignant"), kinds.count("benign")) == (6, 6)
    for svg in drawn:
        box = [float(number) for number in svg.get("viewBox", "").split()]
        for circle in svg.findall(".//circle"):
            assert 0 < float(circle.get("cx", "")) < box[2]
            assert 0 < float(circle.get("cy", "")) < box[3]
    assert "<script" not in text
    assert "http" not in text
    assert "1.2.900" not in text
    assert f"{1:016x}" not in text


def test_of_very_many_images_the_page_draws_a_part(hospital: Site) -> None:
    from service.shadow.comparison import comparisons

    say(hospital, hospital.analysed(1, 0.9), 0.8)
    text = page(comparisons(hospital.journal.shadow_pairs() * 9000))
    assert text.count("<circle") == 2 * MOST_POINTS
    assert f"Of 9000 images {MOST_POINTS} are drawn" in text


def test_the_keeper_tells_how_far_they_agree(hospital: Site) -> None:
    for study, (active, shadow) in enumerate(((0.9, 0.8), (0.9, 0.2), (0.1, 0.2), (0.2, 0.3))):
        say(hospital, hospital.analysed(study, active), shadow)
    metrics = Metrics()
    ShadowWatch(hospital.journal, metrics, 300).look()
    value = metrics.registry.get_sample_value
    labels = {"model_version": "8"}
    assert value("secondread_shadow_agreement", labels) == 0.75
    assert value("secondread_shadow_compared_images", labels) == 4


def test_a_shadow_is_named_by_command_and_recorded_in_the_audit_trail(
    tmp_path: Path, active_model: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()

    def model(*arguments: str) -> Result:
        return CliRunner().invoke(
            app,
            ["model", *arguments],
            env={
                "SECONDREAD_DATA_DIR": str(data),
                "SECONDREAD_ANALYSIS__MODEL": str(active_model),
                "COLUMNS": "200",
            },
        )

    candidate = write_package(tmp_path / "candidate", steeper(), version="2")
    same = write_package(tmp_path / "same", brightness_model(), version="3")
    for package in (candidate, same):
        assert model("install", str(package.folder)).exit_code == 0
    named = model("shadow", "brightness@2")
    assert named.exit_code == 0, named.output
    assert "shadow is brightness@2" in named.stdout
    listed = json.loads(model("list", "--json").stdout)
    (sha256,) = [each["sha256"] for each in listed["installed"] if each["version"] == "2"]
    assert listed["shadow"] == sha256
    refused = model("shadow", "brightness@3", "--json")
    assert refused.exit_code == 1
    assert "has the active model's" in json.loads(refused.stdout)["problem"]
    for arguments in ([], ["brightness@2", "--off"]):
        assert model("shadow", *arguments).exit_code == 2
    off = model("shadow", "--off", "--json")
    assert json.loads(off.stdout)["shadow"] is None
    (trail,) = (data / "audit").iterdir()
    assert "shadow is brightness@2" in trail.read_text()
    assert "shadow is off" in trail.read_text()
