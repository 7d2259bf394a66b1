"""``secondread-model compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_export.cli.options import Data


def compare(
    models: Annotated[list[Path], typer.Argument(help="Run folders of `train`, or packages.")],
    data: Data,
    train: Annotated[str, typer.Option(help="The images of the training, such as split=train.")],
    test: Annotated[str, typer.Option(help="The images to judge on, such as split=test.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for tables and figures.")],
    external: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Another hospital's data folder."),
    ] = None,
    operating_point: Annotated[
        str | None, typer.Option(help="By its name; each model's default without it.")
    ] = None,
) -> None:
    """Compare models on the same split: Table 2, ROC figure, pairwise DeLong tests.

    Rows of training images are marked as such. The comparison is refused where a model was
    trained on images, or on patients, of the test set.
    """
    from rich.console import Console

    from model_export.comparison import TRAIN, Part, score_models
    from model_export.comparison_report import write_comparison
    from model_export.dataset import read_manifest, refuse_shared_patients, select

    folder = read_manifest(data)
    training, judged = select(folder, train), select(folder, test)
    refuse_shared_patients(train=training, test=judged)
    name = data.resolve().name
    parts = [
        Part(TRAIN, f"{name} ({train})", training, folder),
        Part("test", f"{name} ({test})", judged, folder),
    ]
    if external is not None:
        others = read_manifest(external)
        parts.append(Part("external", external.resolve().name, others, others))
    candidates, sets = score_models(models, parts, operating_point)
    console = Console()
    for table in write_comparison(candidates, sets, out):
        table.print(console)
    console.print(f"wrote {out}")
