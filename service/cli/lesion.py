"""``secondread lesion``: which images show one lesion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer

from service.cli.images import AsJson, Names, named_images, orders_of_operator
from service.cli.options import ConfigFile
from service.config import ConfigurationError, load_settings
from service.journal.journal import Journal, JournalError
from service.journal.records import ImageRow

lesion_app = typer.Typer(
    help="Which images show one lesion: its views are fused to one score in the study's summary.",
    no_args_is_help=True,
)


class Side(StrEnum):
    """Of the breast."""

    LEFT = "L"
    RIGHT = "R"


@lesion_app.command()
def link(
    images: Names,
    side: Annotated[Side | None, typer.Option(help="Which breast; of the headers without.")] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Say that two images or more of a study show one lesion; the summary is made anew.

    Link views whose planes are at right angles to one another: nothing else was measured. Exit
    code 0, 1 if they were not linked, 2 if configuration or journal cannot be used.
    """
    from service.orders import NotDone

    with orders_of_operator(config) as (journal, orders):
        try:
            orders.link_lesion(_rows(journal, images), None if side is None else side.value)
        except (NotDone, _NoImage) as error:
            _end(as_json, "", f"not linked: {error}")
    _end(as_json, "linked; the study's summary is made anew when the study is quiet", "")


@lesion_app.command()
def unlink(images: Names, as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Undo the links that the images are a part of, each as a whole.

    Exit code 0, 1 if an image is in no link, 2 if configuration or journal cannot be used.
    """
    from service.orders import NotDone

    with orders_of_operator(config) as (journal, orders):
        try:
            undone: set[str] = set()
            for row in _rows(journal, images):
                if row.key not in undone:
                    undone |= set(orders.unlink_lesion(row).keys)
        except (NotDone, _NoImage) as error:
            _end(as_json, "", f"not unlinked: {error}")
    _end(as_json, "unlinked; the study's summary is made anew when the study is quiet", "")


@lesion_app.command("list")
def list_lesions(
    study: Annotated[str, typer.Argument(metavar="STUDY_UID", help="Study Instance UID.")],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, one object a lesion.")] = (
        False
    ),
    config: ConfigFile = None,
) -> None:
    """List the lesions of a study, as its images' headers and the operators' links tell them.

    Exit code 0, 1 if the journal has no image of that study, 2 if configuration or journal cannot
    be used.
    """
    from service.spool_opening import open_spool
    from service.summary.attribution import lesions_in

    try:
        settings = load_settings(config)
        journal = Journal(settings.journal_url)
        with closing(journal):
            journal.check()
            rows = journal.study_images(study)
            found = lesions_in(rows, journal.lesion_links(study), open_spool(settings))
    except (ConfigurationError, JournalError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    if not rows:
        typer.echo("the journal has no image of this study", err=True)
        raise typer.Exit(1)
    keys = {row.sop_instance_uid: row.key for row in rows}
    told = [
        {
            "name": lesion.name,
            "side": lesion.side,
            "found": str(lesion.found_by),
            "images": [keys[uid] for uid in lesion.views],
        }
        for lesion in found
    ]
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    for each in told:
        typer.echo(f"{each['side'] or '-'}  {each['name']}, {each['found']}")
        for key in each["images"] or ():
            typer.echo(f"   {key}")
    with_result = sum(row.outcome is not None for row in rows)
    alone = with_result - sum(len(lesion.views) for lesion in found)
    typer.echo(f"{len(found)} lesions of several views; {alone} images alone")


class _NoImage(Exception):
    pass


def _rows(journal: Journal, names: Sequence[str]) -> list[ImageRow]:
    """Of each the newest content. Raises _NoImage; a patient's UID is not repeated."""
    rows = []
    for position, name in enumerate(names, start=1):
        found = list(named_images(journal, name))
        if not found:
            raise _NoImage(f"argument {position}: no such image or result in the journal")
        rows.append(max(found, key=lambda row: row.revision))
    return rows


def _end(as_json: bool, done: str, wrong: str) -> None:
    if as_json:
        typer.echo(json.dumps({"done": bool(done), "reason": wrong or None}))
    else:
        typer.echo(done or wrong, err=bool(wrong))
    if wrong:
        raise typer.Exit(1)
