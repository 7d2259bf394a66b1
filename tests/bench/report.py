"""Where the figures go: ``build/bench/report.json``, the terminal and ``docs/measured.md``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.figure import Figure

_HEAD = ("figure", "ours", "peer", "ratio", "goal", "met", "load", "from")


def keep(part: str, figures: Sequence[Figure], folder: Path) -> None:
    """Write a part's rows, and with those of the parts that ran before, the whole report."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    rows = [{"part": part, **figure.as_row()} for figure in figures]
    (parts / f"{part}.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False))
    whole = [row for path in sorted(parts.glob("*.json")) for row in json.loads(path.read_text())]
    (folder / "report.json").write_text(json.dumps(whole, indent=2, ensure_ascii=False))


def show(part: str, figures: Sequence[Figure], console: Console) -> None:
    table = Table(*_HEAD, title=part)
    for figure in figures:
        table.add_row(*_cells(figure))
    console.print(table)


def publish(part: str, figures: Sequence[Figure], page: Path) -> None:
    """Replace a part's table in the page, between its two marks.

    Raises ValueError if the page has no such marks.
    """
    when = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores: `make bench ONLY={part}`"
    lines = [when, "", _line(_HEAD), _line(["---"] * len(_HEAD))]
    lines += [_line(_cells(figure)) for figure in figures]
    marks = re.compile(rf"(<!-- bench:{part} -->\n).*?(<!-- end -->)", re.DOTALL)
    text = page.read_text()
    if not marks.search(text):
        raise ValueError(f"{page} has no place for the figures of {part}")
    block = "\n".join(lines)
    page.write_text(marks.sub(lambda found: f"{found[1]}{block}\n{found[2]}", text))


def _cells(figure: Figure) -> list[str]:
    peer = f"{figure.peer.name}: {_number(figure.peer.value)}" if figure.peer else ""
    met = {True: "yes", False: "**no**", None: ""}[figure.met]
    ratio = "" if figure.ratio is None else _number(figure.ratio)
    load = "" if figure.load is None else f"{figure.load:.1f}"
    ours = f"{_number(figure.value)} {figure.unit}"
    return [figure.name, ours, peer, ratio, figure.goal, met, load, figure.detail]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
