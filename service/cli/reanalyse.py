"""``secondread reanalyse``: images named one by one, or the studies that came in a time."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.images import Told, orders_of_operator
from service.cli.options import ConfigFile

if TYPE_CHECKING:
    from collections import Counter

    from service.reanalysis import Choice, Reanalysis

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


def reanalyse(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="UID...", help="SOP Instance UIDs of images or results; keys."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=_FORMATS,
            help="All studies of which an image was received since then (local time).",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=_FORMATS, help="With --since: received before then."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="An installed model in place of the active one."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --since: only say how many it would be.")
    ] = False,
    at_once: Annotated[
        int,
        typer.Option(
            min=1,
            help="With --since: while so many images wait for their analysis, order no more, so "
            "that new ones come through.",
        ),
    ] = 50,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: done, not_done; would with --dry-run.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Analyse images again, with the model that is active now; new results replace the old.

    What the model has said already, and has not been withdrawn, is left alone, so that the command
    can be given again after it was broken off. A study gets this model from then on. Exit code 0
    if any goes back to work (or would), 1 if none, 2 if configuration, model or journal cannot be
    used.
    """
    if bool(images) == (since is not None):
        raise typer.BadParameter("give either UIDs (or image keys) or --since")
    if since is None and (until is not None or dry_run):
        raise typer.BadParameter("--until and --dry-run go with --since")
    if since is None:
        _named(images or [], model, as_json, config)
    else:
        _received(since, until, model, at_once, dry_run, as_json, config)


def _named(images: list[str], model: str | None, as_json: bool, config: Path | None) -> None:
    with orders_of_operator(config) as (journal, orders):
        told = Told(as_json)
        wanted = orders.model_named(model)
        told.each(journal, images, lambda row: orders.reanalyse(row, wanted))
    told.end(
        "go back to work; the keeper hands them to the workers at its next look",
        "nothing is analysed again: no such image has a result that could be replaced",
    )


def _received(
    since: datetime,
    until: datetime | None,
    model: str | None,
    at_once: int,
    dry_run: bool,
    as_json: bool,
    config: Path | None,
) -> None:
    from service.journal.records import ImageFilter
    from service.reanalysis import Reanalysis

    until = until and until.astimezone()
    chosen = ImageFilter(since=since.astimezone(), until=until, whole_studies=True)
    with orders_of_operator(config) as (journal, orders):
        reanalysis = Reanalysis(journal, orders, orders.model_named(model))
        choice = reanalysis.choose(chosen)
        if dry_run:
            _tell({"would": len(choice.keys)}, "would go back to work", choice.left_alone, as_json)
            number = len(choice.keys)
        else:
            number = _order(reanalysis, choice, at_once)
            _tell({"done": number}, "go back to work", choice.left_alone, as_json)
    if not number:
        raise typer.Exit(1)


def _order(reanalysis: Reanalysis, choice: Choice, at_once: int) -> int:
    """How many were ordered; what was left alone after all is counted with the others."""
    from rich.console import Console
    from rich.progress import Progress

    done = 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        ordered = reanalysis.order(choice.keys, at_once)
        for why in progress.track(ordered, len(choice.keys), description="ordering"):
            if why is None:
                done += 1
            else:
                choice.left_alone[why] += 1
    return done


def _tell(told: dict[str, int], words: str, left_alone: Counter[str], as_json: bool) -> None:
    if as_json:
        reasons = [{"reason": why, "images": number} for why, number in left_alone.items()]
        typer.echo(json.dumps({**told, "not_done": reasons}))
        return
    (number,) = told.values()
    typer.echo(f"{number} {words}")
    for why, images in left_alone.most_common():
        typer.echo(f"{images} left alone: {why}", err=True)
