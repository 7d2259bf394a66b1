"""``make bench``: every part in turn, or those that ``--only`` names."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.bench import report
from tests.bench.figure import Figure

PARTS = (
    *("startup", "ingest", "spool", "decode", "results", "road"),
    *("inference", "workers", "shadow", "delivery", "growth", "load"),
)
"""Each is a module here whose ``measure(scratch, quick)`` returns its figures."""


def bench(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(PARTS)}; may be given again.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few rounds: shows that it works, proves nothing.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of report.json.")] = Path("build/bench"),
    page: Annotated[Path, typer.Option(help="Whose tables are replaced.")] = Path(
        "docs/measured.md"
    ),
) -> None:
    """Measure SecondRead against its peers on this machine, side by side in one run.

    SECONDREAD_BENCH_BACKLOG is how many results the part "delivery" drains, 2000 without it.
    """
    unknown = [name for name in only or () if name not in PARTS]
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
