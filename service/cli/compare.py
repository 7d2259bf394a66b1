"""``secondread model compare``: a shadow beside the model whose results went out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.journal import opened_journal
from service.cli.options import ConfigFile

if TYPE_CHECKING:
    from rich.table import Table

    from service.journal.shadow_records import Pair, ScoringModel
    from service.shadow.comparison import Comparison, Known
    from service.shadow.figures import Agreement

_DAY = ["%Y-%m-%d"]
_SHORTEST_PREFIX = 4


def compare(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A shadow by name@version or the first digits of its model_sha256; all without.",
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=_DAY, help="Images received on this day or later (UTC)."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=_DAY, help="Images received on this day or before (UTC)."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also a page with pictures, for people."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A list, one object a pair of models.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Show how a shadow agrees with the model whose results went out, and where pathology is known
    which of the two is better.

    Exit code 0, 1 if no image was seen by both or the page cannot be written, 2 if configuration
    or journal cannot be used.
    """
    from service.shadow.comparison import comparisons

    end = None if until is None else _utc(until) + timedelta(days=1)
    with opened_journal(config) as (_, journal):
        pairs = journal.shadow_pairs(None if since is None else _utc(since), end)
    found = comparisons([pair for pair in pairs if _is_meant(pair, model)])
    if html is not None and found:
        _write(html, found)
    if as_json:
        typer.echo(json.dumps([_as_json(each) for each in found], indent=2))
    else:
        for each in found:
            _print(each)
    if not found:
        typer.echo("no shadow has looked at an image yet", err=True)
        raise typer.Exit(1)


def _utc(day: datetime) -> datetime:
    return day.replace(tzinfo=UTC)


def _is_meant(pair: Pair, name: str | None) -> bool:
    if name is None:
        return True
    model = pair.shadow_model
    by_digits = len(name) >= _SHORTEST_PREFIX and model.sha256.startswith(name.lower())
    return by_digits or name == f"{model.name}@{model.version}"


def _write(file: Path, found: Sequence[Comparison]) -> None:
    from service.shadow.page import page

    try:
        file.write_text(page(found), encoding="utf-8")
    except OSError as error:
        typer.echo(f"error: {file} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from None


def _as_json(found: Comparison) -> dict[str, Any]:
    """Without the points: they are many, and in the page."""
    return {
        "active": _model_as_json(found.active),
        "shadow": _model_as_json(found.shadow),
        "first": found.first.isoformat(),
        "last": found.last.isoformat(),
        "images": found.images,
        "only_active": found.only_active,
        "only_shadow": found.only_shadow,
        "neither": found.neither,
        "failed": found.failed,
        "reasons": found.reasons,
        "agreement": None if found.agreement is None else _agreement_as_json(found.agreement),
        "by_scanner": {name: _agreement_as_json(some) for name, some in found.by_scanner.items()},
        "known": [_known_as_json(known) for known in found.known],
    }


def _model_as_json(model: ScoringModel) -> dict[str, str]:
    return {"name": model.name, "version": model.version, "model_sha256": model.sha256}


def _agreement_as_json(some: Agreement) -> dict[str, Any]:
    return asdict(some) | {"same": some.same, "few": some.few}


def _known_as_json(known: Known) -> dict[str, Any]:
    return asdict(known) | {"few": known.few}


def _print(found: Comparison) -> None:
    from rich.console import Console
    from rich.markup import escape

    from service.shadow.comparison import FEW_CASES
    from service.shadow.figures import FEW

    console = Console()
    console.print(
        escape(
            f"shadow {found.shadow.name} {found.shadow.version}, active {found.active.name} "
            f"{found.active.version}, {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d} (UTC)"
        )
    )
    scored = found.agreement.images if found.agreement else 0
    console.print(
        f"{found.images} images, scored by both {scored}, by the active model only "
        f"{found.only_active}, by the shadow only {found.only_shadow}, by neither {found.neither}; "
        f"the shadow broke off at {found.failed}"
    )
    for reason, number in found.reasons.items():
        console.print(f"no score of the shadow: {escape(reason)} {number}")
    if found.agreement is None:
        return
    console.print(_agreement_table(found))
    both = found.agreement
    console.print(
        f"decisions: malignant by both {both.both_malignant}, by the active model only "
        f"{both.only_active}, by the shadow only {both.only_shadow}, by neither {both.both_benign}"
    )
    if both.few:
        console.print(f"too few: with fewer than {FEW} images these figures say little")
    console.print(_known_table(found))
    if any(known.few for known in found.known):
        console.print(
            f"too few: an AUC of fewer than {FEW_CASES} malignant or {FEW_CASES} benign cases "
            "decides nothing"
        )


def _agreement_table(found: Comparison) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from service.shadow.page import signed

    table = Table("scanner", "images", "mean difference", "limits of agreement")
    for name in ("correlation", "same decision", "kappa"):
        table.add_column(name)
    rows = [] if found.agreement is None else [("all", found.agreement)]
    for name, some in [*rows, *found.by_scanner.items()]:
        table.add_row(
            escape(name),
            f"{some.images}{' (too few)' if some.few else ''}",
            signed(some.mean_difference),
            f"{signed(some.lower)} to {signed(some.upper)}",
            "–" if some.correlation is None else f"{some.correlation:.3f}",
            f"{some.same} of {some.images}",
            "–" if some.kappa is None else str(some.kappa),
        )
    table.caption = "Differences are shadow − active. With 95 % intervals; research use only."
    return table


def _known_table(found: Comparison) -> Table:
    from rich.table import Table

    from service.shadow.comparison import Level
    from service.shadow.page import interval, p_text

    table = Table("pathology", "malignant, benign", "AUC active", "AUC shadow", "difference", "p")
    for known in found.known:
        difference = known.difference
        table.add_row(
            "studies" if known.level is Level.STUDY else "images",
            f"{known.malignant}, {known.benign}{' (too few)' if known.few else ''}",
            "–" if known.active is None else str(known.active),
            "–" if known.shadow is None else str(known.shadow),
            interval(difference.difference if difference else None),
            "–" if difference is None else p_text(difference.p_value),
        )
    table.caption = "DeLong's intervals and paired test. Only cases with pathology."
    return table
