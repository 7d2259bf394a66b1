"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file; without it $SECONDREAD_CONFIG, or the defaults.",
        metavar="FILE",
    ),
]
