"""``secondread demo``: see it run."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from service.log import set_up_logging

if TYPE_CHECKING:
    from service.demo import Demonstration, DemoRow

_MARK = ".secondread-demo"
_LONG_NAME = 26


def demo(
    images: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            help="File or folder with DICOM, PNG or JPEG; pydicom's ultrasound files without it.",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Exit when all is delivered; 1 if anything is missing.")
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Where the archive and the pictures go (made anew).")
    ] = Path("build/demo"),
    timeout: Annotated[
        float, typer.Option(help="Seconds without any progress after which it gives up.")
    ] = 300,
) -> None:
    """Start everything on this machine, send real ultrasound by C-STORE, show what comes back."""
    from service.demo import demonstration, packaged_ultrasound
    from service.scu import files_below

    set_up_logging("demo", "WARNING")
    console = Console()
    files = list(files_below([images])) if images is not None else packaged_ultrasound()
    if not files:
        raise typer.BadParameter(f"there are no files in {images}")
    try:
        _make_anew(out)
    except OSError as error:
        raise typer.BadParameter(str(error)) from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        with console.status("starting SecondRead and a local PACS"):
            running = stack.enter_context(demonstration(out / "pacs"))
        target = running.scanner_target
        console.print(
            f"SecondRead listens as [bold]{target.ae_title}[/] on {target.host}:{target.port}"
        )
        rows = _send_and_wait(running, files, out, timeout, console)
        console.print(_table(rows, out))
        summaries = running.wait_for_summaries(timeout)
        console.print(f"{summaries} study summaries arrived, too.")
        console.print(f"The archive of the local PACS is {escape(str(out / 'pacs'))}.")
        console.print("Research use only.")
        missing = sum(not row.complete for row in rows)
        if missing:
            console.print(f"[red]{missing} of {len(rows)} files have no complete result[/]")
        if not once:
            page = running.page
            console.print(
                f"Its web page is {page.url}, name [bold]{page.name}[/],"
                f" password [bold]{page.password}[/]."
            )
            port = running.scanner_target.port
            console.print(
                f"It stays up: send more with `secondread send --port {port}`. Ctrl-C ends it."
            )
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
        console.print("stopping")
    if missing:
        raise typer.Exit(1)


def _send_and_wait(
    running: Demonstration, files: Sequence[Path], out: Path, timeout: float, console: Console
) -> list[DemoRow]:
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        sending = progress.add_task("C-STORE", total=len(files))
        waiting = progress.add_task("results", total=len(files))
        sent = running.send(files, lambda _: progress.advance(sending))

        def advance(done: int, total: int) -> None:
            progress.update(waiting, completed=done, total=total)

        running.wait(sent, timeout, advance)
    return running.rows(sent, out)


def _table(rows: Sequence[DemoRow], out: Path) -> Table:
    table = Table(show_lines=True, expand=True)
    results = [path.name for row in rows for path in row.results]
    table.add_column("file", overflow="fold", width=_whole([row.file for row in rows]))
    table.add_column("outcome", overflow="fold", ratio=1)
    table.add_column("malignant", no_wrap=True)
    title = f"in {escape(str(out))}"
    table.add_column(title, overflow="fold", width=_whole([title, *results]))
    for row in rows:
        score = "–" if row.probability_malignant is None else f"{row.probability_malignant:.1%}"
        colour = "green" if row.complete else "red"
        table.add_row(
            escape(row.file),
            f"[{colour}]{row.outcome}[/]" + (f": {escape(row.detail)}" if row.detail else ""),
            score,
            escape("\n".join(path.name for path in row.results)) or "–",
        )
    return table


def _whole(names: Sequence[str]) -> int:
    """Width of a column in characters, so that names as long as usual are not broken."""
    return min(_LONG_NAME, max(map(len, names), default=0))


def _make_anew(folder: Path) -> None:
    """Empty the folder if an earlier demonstration made it.

    Raises FileExistsError if it holds anything else, so that nobody's files are deleted.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise FileExistsError(f"{folder} holds files that are not the demo's; choose another")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
