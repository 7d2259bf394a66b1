"""``make bench``: every part in turn, or those that ``--only`` names."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path

import typer
from rich.console import Console

from tests.bench import report
from tests.bench.figure import Figure

PARTS = ("results", "startup", "road", "inference", "ingest", "delivery", "growth")
"""Each is a module here whose ``measure(scratch, quick)`` returns its figures."""


def bench(
    only: list[str] = typer.Option([], help=f"Of {', '.join(PARTS)}; may be given again."),
    quick: bool = typer.Option(False, help="Few rounds: shows that it works, proves nothing."),
    out: Path = typer.Option(Path("build/bench"), help="Folder of report.json."),
    page: Path = typer.Option(Path("docs/measured.md"), help="Whose tables are replaced."),
) -> None:
    """Measure SecondRead against its peers on this machine, side by side in one run."""
    unknown = [name for name in only if name not in PARTS]
    if unknown:
        raise typer.BadParameter(f"no such part: {', '.join(unknown)}", param_hint="--only")
    console = Console()
    for part in only or PARTS:
        with tempfile.TemporaryDirectory(prefix="secondread-bench-") as scratch:
            module = importlib.import_module(f"tests.bench.{part}")
            figures: list[Figure] = module.measure(Path(scratch), quick=quick)
        report.keep(part, figures, out)
        report.show(part, figures, console)
        if not quick:
            report.publish(part, figures, page)


if __name__ == "__main__":
    typer.run(bench)
