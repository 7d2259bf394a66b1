"""Prints the table, and writes it to ``build/bench/report.json``."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from tests.bench import cam, results, road


def bench(
    size: int = typer.Option(1024, help="Edge of the network's input in pixels."),
    rounds: int = typer.Option(9, help="Rounds of the CAM's measurement."),
    images: int = typer.Option(30, help="Images on the road."),
    objects: int = typer.Option(50, help="Rounds of the result objects' measurement."),
) -> None:
    """Measure the CAM's cost, the result objects' and the road's overhead on this machine."""
    console = Console()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        figures = results.measure(objects)
        figures += cam.measure(Path(scratch), size, rounds)
        figures += road.measure(Path(scratch), images)
    table = Table("figure", "value", "goal", "met", "from")
    for figure in figures:
        met = "yes" if figure.met else "no"
        table.add_row(figure.name, f"{figure.value:.3g}", figure.goal, met, figure.detail)
    console.print(table)
    console.print(f"load average before: {load:.2f} on {os.cpu_count()} cores")
    report = Path("build/bench/report.json")
    report.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(figure), "met": figure.met} for figure in figures]
    report.write_text(json.dumps({"load_before": load, "figures": rows}, indent=2))


if __name__ == "__main__":
    typer.run(bench)
