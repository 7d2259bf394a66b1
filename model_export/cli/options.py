"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OperatingPointName = Annotated[
    str | None, typer.Option(help="By its name; the model's default without it.")
]
Data = Annotated[
    Path,
    typer.Option(
        exists=True,
        file_okay=False,
        help="Folder with manifest.csv (file, label, patient_id, …), images and masks/, as "
        "`prepare` makes it.",
    ),
]
Model = Annotated[Path, typer.Argument(help="A model package, or a run folder of `train`.")]
Where = Annotated[
    str | None, typer.Option(help="Which images, such as split=test; all without it.")
]
