"""``secondread truth report``: how good the scores were, by model, scanner or month."""

from __future__ import annotations

import json


def taken_in(site) -> None:
    for study, probability in enumerate((0.9, 0.8, 0.3, 0.2, 0.1, 0.6), start=1):
        site.analysed(study, probability, scanner_model="A" if study % 2 else "B")
    site.analysed(1, 0.4, number=2, scanner_model="A")
    words = ("malignant", "malignant", "malignant", "benign", "benign", "benign")
    rows = [f"1.2.900.{n},{word},2026-03-09,surgery" for n, word in enumerate(words, start=1)]
    assert site.secondread("truth", "import", site.table(*rows)).returncode == 0


def test_the_figures_of_studies_and_images(site) -> None:
    taken_in(site)
    answer = site.secondread("truth", "report", "--json")
    assert answer.returncode == 0, answer.stderr
    studies, images = json.loads(answer.stdout)
    assert (studies["model_version"], studies["level"]) == ("7", "study")
    assert (studies["malignant"], studies["benign"]) == (3, 3)
    assert studies["auc"]["value"] == 8 / 9
    assert studies["sensitivity"]["value"] == 2 / 3
    assert studies["specificity"]["value"] == 2 / 3
    assert (images["level"], images["malignant"]) == ("image", 4)
    assert images["sensitivity"]["value"] == 0.5


def test_by_scanner_and_by_month(site) -> None:
    taken_in(site)
    by_scanner = json.loads(site.secondread("truth", "report", "--by", "scanner", "--json").stdout)
    assert [
        (row["scanner"], row["malignant"]) for row in by_scanner if row["level"] == "study"
    ] == [
        ("A", 2),
        ("B", 1),
    ]
    table = site.secondread("truth", "report", "--by", "month")
    assert table.returncode == 0
    assert "month" in table.stdout
    assert "0.667" in table.stdout
    assert "research use only" in table.stdout


def test_before_pathology_has_said_anything(site) -> None:
    site.analysed(1, 0.9)
    for options, out in (([], ""), (["--json"], "[]\n")):
        answer = site.secondread("truth", "report", *options)
        assert answer.returncode == 1
        assert answer.stdout == out
        assert "no analysed image has a diagnosis yet" in answer.stderr
