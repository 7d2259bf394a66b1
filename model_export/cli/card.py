"""``secondread-model card``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def card(
    package: Annotated[Path, typer.Argument(file_okay=False, help="Folder of a model package.")],
    show: Annotated[
        bool, typer.Option("--print", help="Print the card and leave the package as it is.")
    ] = False,
) -> None:
    """Renew a package's model_card.md from its manifest."""
    from model_export.card import model_card
    from service.analysis.model_package import CARD_FILE, load_model_package

    text = model_card(load_model_package(package).manifest)
    if show:
        typer.echo(text)
        return
    (package / CARD_FILE).write_text(text, encoding="utf-8")
    typer.echo(f"wrote {package / CARD_FILE}")
