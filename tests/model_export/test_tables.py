"""A table says the same on the terminal, in Markdown and in CSV, its mark included."""

from __future__ import annotations

import csv
from io import StringIO

import pytest
from rich.console import Console

from model_export.tables import Table, markdown_page

TABLE = Table(
    "Figures",
    ("device", "images (malignant)", "patients", "AUC", "sensitivity", "specificity"),
    (
        ("GE Logiq 7 @10-14MHz", "182 (57)", "98", *["0.919 (0.881–0.958)"] * 3),
        ("a | b, c", "4 (2)", "2", "benign only", "too few (2)", "none benign"),
    ),
    mark="TRAINING IMAGES",
    notes=("A note.",),
)


@pytest.mark.parametrize("width", [30, 80, 200])
def test_no_figure_is_cut_on_a_narrow_terminal(width: int) -> None:
    stream = StringIO()
    TABLE.print(Console(file=stream, width=width))
    printed = stream.getvalue()
    assert printed.count("0.919") == printed.count("(0.881–0.958)") == 3
    for word in ("@10-14MHz", "(malignant)", "specificity", "A note."):
        assert word in printed
    assert "TRAINING" in printed
    assert "…" not in printed


def test_it_fits_into_eighty_columns() -> None:
    stream = StringIO()
    TABLE.print(Console(file=stream, width=80))
    assert max(map(len, stream.getvalue().splitlines())) <= 80


def test_csv_holds_the_cells_and_the_mark_in_each_row() -> None:
    head, *rows = csv.reader(StringIO(TABLE.csv()))
    assert head == [*TABLE.columns, "mark"]
    assert rows == [[*row, "TRAINING IMAGES"] for row in TABLE.rows]
    unmarked = Table("Figures", ("a",), (("1",),))
    assert unmarked.csv() == "a\n1\n"


def test_markdown_has_the_mark_in_the_heading_and_bars_escaped() -> None:
    page = markdown_page("Report", ["Model: x"], [TABLE])
    assert page.startswith("# Report\n\n- Model: x\n")
    assert "## Figures: TRAINING IMAGES\n" in page
    assert "| a \\| b, c | 4 (2) |" in page
    assert page.rstrip().endswith("A note.")
