"""``secondread status``: what the journal says, also while nothing runs."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from service.analysis.model_package import ModelPackageError
from service.analysis.model_store import ModelStore
from service.cli.options import ConfigFile
from service.config import ConfigurationError, Settings, load_settings
from service.health import is_healthy
from service.journal.journal import Journal, JournalError
from service.journal.records import DeliveryState, ImageRow, ImageState
from service.programs import health_urls
from service.views import DestinationView, ImageBrief, StatusView

_NEWEST = 20
_LATE_SECONDS = 300.0


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: ConfigFile = None,
) -> None:
    """Show what is wrong, images and studies by state, what waits, destinations, new images.

    Exit code 0, 1 if anything has failed, 2 if configuration or journal cannot be used.
    """
    try:
        settings = load_settings(config)
        with closing(Journal(settings.journal_url)) as journal:
            journal.check()
            view = StatusView.of(journal.counts(), journal.delivery_errors())
            newest = journal.images(_NEWEST)
        model = _model(settings)
    except (ConfigurationError, JournalError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    processes = {name: is_healthy(url) for name, url in health_urls(settings).items()}
    if as_json:
        told = view.model_dump(mode="json")
        told["processes"] = processes
        told["model"] = model
        told["newest"] = [ImageBrief.of(row).model_dump(mode="json") for row in newest]
        typer.echo(json.dumps(told, indent=2))
    else:
        glance = _glance(settings, view, processes, model["problem"])
        Console().print(Group(glance, _used(model), *_tables(view, newest)))
    if view.anything_failed:
        raise typer.Exit(1)


def _model(settings: Settings) -> dict[str, str | None]:
    """Which one new studies get, which one is the canary, and what is wrong with them."""
    told: dict[str, str | None] = {"active": None, "canary": None, "problem": None}
    try:
        used = ModelStore(settings).in_use()
    except ModelPackageError as error:
        return {**told, "problem": str(error)}
    names = [f"{each.name} {each.version}" for each in used]
    return {**told, **dict(zip(("active", "canary"), names, strict=False))}


def _used(model: dict[str, str | None]) -> str:
    canary = f"; canary: {model['canary']}" if model["canary"] else ""
    return escape(f"Model: {model['active'] or 'none can be read'}{canary}\n")


def _glance(
    settings: Settings, view: StatusView, processes: dict[str, bool], bad_model: str | None
) -> str:
    """The answer to "is it all right?", a line for each thing that is not."""
    silent = [name for name, good in processes.items() if not good]
    lines = []
    if len(silent) == len(processes):
        lines.append("[red]✗[/] nothing runs on this machine: start `secondread up`")
    elif silent:
        lines.append(f"[red]✗[/] does not answer on this machine: {', '.join(silent)}")
    if number := view.images[ImageState.FAILED]:
        lines.append(f"[red]✗[/] {number} images have failed: `secondread replay --failed`")
    if view.oldest_image_seconds > _LATE_SECONDS:
        minutes = view.oldest_image_seconds / 60
        lines.append(f"[yellow]![/] an image has waited for its result for {minutes:.0f} min")
    for name, destination in view.deliveries.items():
        if destination.failed:
            lines.append(f"[red]✗[/] {name} has refused {destination.failed} for good")
        late = destination.oldest_seconds > _LATE_SECONDS
        if destination.pending and (late or destination.last_error):
            error = escape(destination.last_error or "no error")
            lines.append(f"[yellow]![/] {name}: {destination.pending} wait ({error})")
    if bad_model:
        lines.append(f"[red]✗[/] the model: {escape(bad_model)}")
    if not settings.destinations:
        lines.append("[yellow]![/] no destination is configured: results stay here")
    return "\n".join(lines or ["[green]✓[/] all is well"]) + "\n"


def _tables(view: StatusView, newest: list[ImageRow]) -> list[Table]:
    images = Table("state", "images", title="Images", title_justify="left")
    for state, number in view.images.items():
        images.add_row(state, str(number), style="red" if _bad(state, number) else None)
    for reason, number in sorted(view.not_analysable.items()):
        images.add_row(f"  not analysable: {reason}", str(number), style="dim")
    if any(view.studies.values()):
        for study_state, number in view.studies.items():
            images.add_row(f"  studies {study_state}", str(number), style="dim")

    waiting = Table("stage", "jobs", "oldest", title="Waiting", title_justify="left")
    for stage, each in view.waiting.items():
        waiting.add_row(stage, str(each.jobs), f"{each.oldest_seconds:.0f} s")

    deliveries = Table(
        "destination", *DeliveryState, "last error", title="Deliveries", title_justify="left"
    )
    for name, destination in view.deliveries.items():
        deliveries.add_row(name, *_numbers(destination), destination.last_error or "")

    table = Table("key", "state", "score", "reason", title="Newest images", title_justify="left")
    for image in map(ImageBrief.of, newest):
        why = image.reason or image.last_error or ""
        table.add_row(image.key, image.state, _score(image), why)
    return [images, waiting, deliveries, table]


def _numbers(destination: DestinationView) -> list[str]:
    return [str(getattr(destination, state)) for state in DeliveryState]


def _bad(state: ImageState, number: int) -> bool:
    return state is ImageState.FAILED and number > 0


def _score(image: ImageBrief) -> str:
    if image.probability_malignant is None:
        return ""
    doubt = ", unlike training" if image.unlike_training else ""
    return f"{image.probability_malignant:.3f} {image.decision}{doubt}"
