"""Options that several commands share."""

from __future__ import annotations

import os
import pwd
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


def login() -> str:
    """Who gives the command, for the audit trail."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
