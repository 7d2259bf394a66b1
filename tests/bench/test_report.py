"""The figures' arithmetic and where they are written; what they measure is no test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.figure import Figure, Peer
from tests.bench.report import keep, publish


def test_a_goal_is_of_the_ratio_where_there_is_a_peer() -> None:
    assert Figure("a", 8, "images/s", "≥ 4", Peer("Orthanc", 2)).met is True
    assert Figure("a", 6, "images/s", "≥ 4", Peer("Orthanc", 2)).met is False
    assert Figure("a", 6, "ms", "≤ 6").met is True
    assert Figure("a", 7, "ms", "≤ 6").met is False
    assert Figure("a", 7, "ms").met is None


def test_a_part_that_runs_again_replaces_its_own_rows_alone(tmp_path: Path) -> None:
    keep("ingest", [Figure("old", 1, "s")], tmp_path)
    keep("road", [Figure("road", 2, "s", "≤ 3")], tmp_path)
    keep("ingest", [Figure("new", 3, "s", "≥ 2", Peer("them", 1), load=0.5)], tmp_path)
    rows = json.loads((tmp_path / "report.json").read_text())
    assert [row["name"] for row in rows] == ["new", "road"]
    assert {"name", "value", "unit", "peer", "ratio", "goal", "met"} <= rows[0].keys()
    assert rows[0]["ratio"] == 3
    assert rows[0]["met"] is True


def test_a_table_is_replaced_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    other = "<!-- bench:road -->\nkept\n<!-- end -->\n"
    page.write_text(f"before\n<!-- bench:ingest -->\nold\n<!-- end -->\nbetween\n{other}after\n")
    publish("ingest", [Figure("new", 3, "s", "≤ 2", load=0.5)], page)
    text = page.read_text()
    assert "| new | 3 s |  |  | ≤ 2 | **no** | 0.5 |" in text
    assert "old" not in text
    assert other in text
    assert text.startswith("before\n")
    with pytest.raises(ValueError, match="growth"):
        publish("growth", [], page)
