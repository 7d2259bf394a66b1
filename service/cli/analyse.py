"""``secondread analyse``: read files here and now, without network, queue or journal."""

from __future__ import annotations

import json
import warnings
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column, Table

from service.cli.options import ConfigFile
from service.config import ConfigurationError, load_settings

if TYPE_CHECKING:
    from service.offline import Row

_STYLES = {"malignant": "bold red", "failed": "red", "not_analysable": "yellow", "ignored": "dim"}


def analyse(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH…", help="DICOM, PNG, JPEG, BMP or TIFF files, or folders."),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, nothing else, on stdout.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write SR, SC and picture there; overwrites nothing."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Model package in place of the active one.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Analyse files without network, and tell the outcome of each.

    Exit code 0 if all were handled (analysed, not analysable or ignored), 1 if a file could not be
    read, 2 if the command or the configuration cannot be used.
    """
    from service.analysis.analyser import Analyser
    from service.analysis.inference import InferenceError
    from service.analysis.model_package import ModelPackageError, load_model_package
    from service.analysis.model_store import ModelStore
    from service.offline import analyse_file, files_in

    missing = [path for path in paths if not path.exists()]
    if missing:
        raise typer.BadParameter("\n".join(f"{path} does not exist" for path in missing))
    files = list(files_in(paths))
    errors = Console(stderr=True)
    rows = []
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        settings = load_settings(config)
        package = ModelStore(settings).active() if model is None else load_model_package(model)
        analyser = Analyser(settings.analysis, package=package)
    except (ConfigurationError, ModelPackageError, InferenceError, OSError) as error:
        errors.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    try:
        with (
            closing(analyser),
            warnings.catch_warnings(),
            Progress(console=errors, transient=True) as progress,
        ):
            if (wrong := analyser.what_is_wrong()) is not None:
                raise InferenceError(wrong)
            warnings.simplefilter("ignore")  # pydicom quotes the values that it warns of
            for file in progress.track(files, description="analysing"):
                row = analyse_file(analyser, file, out)
                rows.append(row)
                if as_json:
                    typer.echo(json.dumps(asdict(row)))
    except InferenceError as error:
        errors.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    if not as_json:
        Console().print(_table(rows))
    if any(row.outcome == "failed" for row in rows):
        raise typer.Exit(1)


def _table(rows: list[Row]) -> Table:
    table = Table(Column("file", overflow="fold"), Column("result", no_wrap=True))
    table.add_column("frame, region or reason", no_wrap=True)
    for row in rows:
        result, details = row.outcome.replace("_", " "), row.reason or ""
        if row.probability_malignant is not None and row.region is not None:
            result = f"{row.decision}, score {100 * row.probability_malignant:.1f} %"
            details = "{}, {},{}–{},{}".format(row.frame, *row.region)
        table.add_row(
            escape(row.file), result, details, style=_STYLES.get(row.decision or row.outcome)
        )
    table.caption = "Malignancy score. Unverified AI result, research use only."
    return table
