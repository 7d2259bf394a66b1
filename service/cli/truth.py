"""``secondread truth``: pathology comes back, and the scores are held against it."""

from __future__ import annotations

import json
import os
import pwd
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from service.cli.journal import opened_journal
from service.cli.options import ConfigFile
from service.journal.truth_records import Taken
from service.truth.cases import By, grouped, image_cases, study_cases
from service.truth.figures import Estimate, Figures, figures

truth_app = typer.Typer(
    help="What pathology found: take it in, see how good the scores were, hand it on for training.",
    no_args_is_help=True,
)

_WORDS = {
    Taken.OLDER: "a diagnosis of a later date holds; --replace makes this one hold",
    Taken.UNKNOWN: "no such study or image was received",
}


@truth_app.command("import")
def import_table(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv",
            help="Columns study_instance_uid or sop_instance_uid, diagnosis, date, source.",
        ),
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Let them hold even where a later date is known.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: counts, and rows by line.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Take diagnoses from a table; a later one of the same study or image corrects the earlier.

    Each row is kept by itself, so that the file can be read again. Exit code 0 if every row is
    known now, 1 if one cannot be taken, 2 if file, configuration or journal cannot be used.
    """
    from service.audit.trail import AuditTrail
    from service.monitoring.metrics import Metrics
    from service.truth.table import TableError, read_table
    from service.truth.taking import take

    with opened_journal(config) as (settings, journal):
        trail = AuditTrail(settings.audit_dir, Metrics())
        try:
            rows = list(read_table(file, _login(), datetime.now(UTC).date()))
        except (TableError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            _end(f"{file} cannot be used: {why}")
        told: list[tuple[int, str, str]] = []
        with _progress() as progress:
            for row in progress.track(rows, description="taking in"):
                if row.truth is None:
                    told.append((row.line, "bad", row.reason))
                else:
                    taken = take(journal, trail, row.truth, replace=replace)
                    told.append((row.line, taken.value, _WORDS.get(taken, "")))
    counts = Counter({**dict.fromkeys([*map(str, Taken), "bad"], 0)})
    counts.update(outcome for _, outcome, _ in told)
    if as_json:
        names = ("line", "outcome", "reason")
        rows_told = [dict(zip(names, each, strict=True)) for each in told]
        typer.echo(json.dumps({"counts": counts, "rows": rows_told}))
    else:
        for line, outcome, why in told:
            if why:
                typer.echo(f"line {line}: {outcome}: {why}", err=True)
        typer.echo(", ".join(f"{number} {outcome}" for outcome, number in counts.items()))
    if counts["bad"] or counts[Taken.UNKNOWN]:
        raise typer.Exit(1)


@truth_app.command()
def report(
    by: Annotated[By, typer.Option(help="What the rows are apart from the model version.")] = (
        By.MODEL
    ),
    as_json: Annotated[
        bool, typer.Option("--json", help="A list, one object a row of the table.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Show how good the scores were, of the cases whose pathology is known, by study and by image.

    Exit code 0, 1 if no such case is known, 2 if configuration or journal cannot be used.
    """
    with opened_journal(config) as (_, journal):
        groups = grouped(journal.judged_images(), by)
    rows = [
        (version, group, level, figures(cases(images)))
        for (version, group), images in groups.items()
        for level, cases in (("study", study_cases), ("image", image_cases))
    ]
    if as_json:
        typer.echo(json.dumps([_as_json(by, *row) for row in rows], indent=2))
    elif rows:
        Console().print(_table(by, rows))
    if not rows:
        typer.echo("no analysed image has a diagnosis yet", err=True)
        raise typer.Exit(1)


@truth_app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or an empty one.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: images, patients, left_out.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Write the images whose pathology is known, as a folder that `secondread-model train` reads.

    Of each the region that was scored, as PNG under a pseudonym; text that is burnt into the
    picture stays. Exit code 0, 1 if some or all could not be read, 2 if folder, configuration or
    journal cannot be used.
    """
    from service.analysis.decode import Decoder
    from service.spool_opening import open_spool
    from service.truth.export import ExportError
    from service.truth.export import export as write

    with opened_journal(config) as (settings, journal):
        images = journal.judged_images()
    limits = settings.analysis
    try:
        with (
            Decoder(limits.decode_seconds, limits.decode_megabytes) as decoder,
            _progress() as progress,
        ):
            task = progress.add_task("writing", total=len(images))
            spool = open_spool(settings)
            made = write(images, spool, decoder, folder, lambda: progress.advance(task))
    except ExportError as error:
        _end(str(error))
    except OSError as error:
        _end(f"{folder} cannot be written: {error.strerror or type(error).__name__}")
    if as_json:
        typer.echo(json.dumps(asdict(made)))
    else:
        typer.echo(f"{made.images} images of {made.patients} patients; look at them before you")
        typer.echo("pass them on: text that is burnt into a picture is still there")
        for reason, number in made.left_out.items():
            typer.echo(f"left out: {number} ({reason})", err=True)
    if made.left_out:
        raise typer.Exit(1)


@truth_app.command()
def listen(config: ConfigFile = None) -> None:
    """Listen for results of pathology (HL7 v2 ORU^R01 over MLLP) until Ctrl-C or SIGTERM.

    Exit code 2 if the configuration cannot be used, 1 if the journal cannot.
    """
    from service.cli.processes import process_settings
    from service.truth import process

    process.run(process_settings(config, "truth"))


def _as_json(by: By, version: str, group: str, level: str, found: Figures) -> dict[str, object]:
    def interval(estimate: Estimate | None) -> dict[str, float] | None:
        if estimate is None:
            return None
        return {"value": estimate.value, "lower": estimate.lower, "upper": estimate.upper}

    row: dict[str, object] = {"model_version": version, "level": level}
    if by is not By.MODEL:
        row[by.value] = group
    return row | {
        "malignant": found.malignant,
        "benign": found.benign,
        "auc": interval(found.auc),
        "sensitivity": interval(found.sensitivity),
        "specificity": interval(found.specificity),
        "calibration_error": found.calibration_error,
    }


def _table(by: By, rows: list[tuple[str, str, str, Figures]]) -> Table:
    table = Table("model", *([] if by is By.MODEL else [by.value]), "cases", "malignant, benign")
    for name in ("AUC", "sensitivity", "specificity", "calibration error"):
        table.add_column(name)
    for version, group, level, found in rows:
        values = [found.auc, found.sensitivity, found.specificity]
        error = found.calibration_error
        table.add_row(
            escape(version),
            *([] if by is By.MODEL else [escape(group)]),
            "studies" if level == "study" else "images",
            f"{found.malignant}, {found.benign}",
            *("–" if value is None else str(value) for value in values),
            "–" if error is None else f"{error:.3f}",
        )
    table.caption = "With 95 % intervals. Only cases with pathology; research use only."
    return table


def _progress() -> Progress:
    """Silent where nobody looks."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def _end(why: str) -> NoReturn:
    typer.echo(f"error: {why}", err=True)
    raise typer.Exit(2)


def _login() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
