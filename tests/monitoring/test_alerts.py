"""The alert rules fire when they should, and lean on metrics and paragraphs that exist."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.monitoring.metrics import Metrics
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "prometheus"
RUNBOOK = REPOSITORY / "docs" / "runbook.md"


def loaded(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def alerts() -> list[dict[str, Any]]:
    return [rule for group in loaded("alerts.yml")["groups"] for rule in group["rules"]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("test", "rules", FOLDER / "alerts_test.yml"),
        ("check", "rules", FOLDER / "alerts.yml"),
        ("check", "config", FOLDER / "prometheus.yml"),
    ],
    ids=["test", "rules", "config"],
)
def test_promtool_finds_nothing_wrong(dcmtk, arguments: tuple[str | Path, ...]) -> None:
    done = dcmtk("promtool", *arguments)
    assert done.returncode == 0, done.stdout


def test_each_alert_is_seen_quiet_and_firing() -> None:
    quiet, firing = set(), set()
    for test in loaded("alerts_test.yml")["tests"]:
        for case in test["alert_rule_test"]:
            (firing if case.get("exp_alerts") else quiet).add(case["alertname"])
    names = {alert["alert"] for alert in alerts()}
    assert firing == names
    assert quiet == names


def test_what_a_process_knows_nothing_of_is_no_alarm(dcmtk, tmp_path: Path) -> None:
    """Each process has every metric, and measures a few of them."""
    series = [
        {"series": f"{sample.name}{{{_labels(sample.labels)}}}", "values": _ninety(sample.value)}
        for metric in Metrics().registry.collect()
        for sample in metric.samples
    ]
    quiet = [{"alertname": alert["alert"], "eval_time": "80m"} for alert in alerts()]
    test = {"interval": "1m", "input_series": series, "alert_rule_test": quiet}
    file = tmp_path / "quiet.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "alerts.yml")], "tests": [test]}))
    done = dcmtk("promtool", "test", "rules", file)
    assert done.returncode == 0, done.stdout


def _ninety(value: float) -> str:
    return " ".join(["NaN"] * 90) if math.isnan(value) else f"{value}x90"


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def test_each_alert_has_its_paragraph() -> None:
    headings = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert headings == [alert["alert"] for alert in alerts()]


def test_the_metrics_of_the_alerts_exist() -> None:
    exported = {sample for metric in Metrics().registry.collect() for sample in _samples_of(metric)}
    asked = {
        name for alert in alerts() for name in re.findall(r"secondread_\w+", str(alert["expr"]))
    }
    assert asked
    assert asked <= exported


def _samples_of(metric: Any) -> set[str]:
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    return {metric.name + suffix for suffix in suffixes.get(metric.type, [""])}


def test_a_first_refusal_is_seen_for_its_counter_was_there_before() -> None:
    value = Metrics().registry.get_sample_value("secondread_received_total", {"outcome": "refused"})
    assert value == 0
