"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path,
    typer.Option(
        exists=True,
        file_okay=False,
        help="Folder with manifest.csv (file, label, patient_id, …), images and masks/, as "
        "`prepare` makes it.",
    ),
]
