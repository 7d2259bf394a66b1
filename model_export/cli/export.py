"""``secondread-model export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of `train`, or its model.pt.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the new model package.")],
    name: Annotated[
        str | None,
        typer.Option(help="Name of the model.", show_default="SecondRead and the backbone"),
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1.0.0",
    size: Annotated[
        int | None,
        typer.Option(
            help="Input size in pixels; that of the training by default. The operating points "
            "were fixed at that of the training: judge the package anew."
        ),
    ] = None,
    half: Annotated[
        bool, typer.Option(help="Store the weights as float16; they are computed as float32.")
    ] = True,
    note: Annotated[
        str | None, typer.Option(help="What else a reader of the card should know of the run.")
    ] = None,
) -> None:
    """Write a model package that the service loads, from a training run.

    All it needs lies in the run: weights, calibration, gate, and which images it has seen.
    """
    from rich.console import Console

    from model_export.checkpoint import load_checkpoint
    from model_export.package import write_package

    checkpoint = load_checkpoint(run)
    package = write_package(
        checkpoint,
        out,
        name=name or f"SecondRead {checkpoint.model.backbone.title}",
        version=version,
        size=size,
        half=half,
        note=note,
    )
    megabytes = package.model_path.stat().st_size / 1e6
    Console(stderr=True).print(
        f"wrote the model package {out} ({megabytes:.1f} MB); next: secondread-model verify {out}",
        highlight=False,
    )
