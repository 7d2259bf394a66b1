"""``secondread status``: what the journal says, also while nothing runs."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.table import Table

from service.cli.options import ConfigFile
from service.config import ConfigurationError, load_settings
from service.journal.journal import Journal, JournalError
from service.journal.records import (
    DeliveryState,
    ImageRow,
    ImageState,
    JournalCounts,
    StudyState,
)

_NEWEST = 20


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: ConfigFile = None,
) -> None:
    """Show images and studies by state, what waits, deliveries with their last errors, new images.

    Exit code 0, 1 if anything has failed, 2 if configuration or journal cannot be used.
    """
    try:
        with closing(Journal(load_settings(config).journal_url)) as journal:
            journal.check()
            counts = journal.counts()
            errors = journal.delivery_errors()
            newest = journal.images(_NEWEST)
    except (ConfigurationError, JournalError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    if as_json:
        typer.echo(json.dumps(_plain(counts, errors, newest), indent=2))
    else:
        Console().print(_tables(counts, errors, newest))
    if _anything_failed(counts):
        raise typer.Exit(1)


def _anything_failed(counts: JournalCounts) -> bool:
    """An image, a summary, or the delivery of one."""
    return bool(
        counts.images[ImageState.FAILED]
        or counts.studies[StudyState.FAILED]
        or any(
            number
            for (_, state), number in counts.deliveries.items()
            if state is DeliveryState.FAILED
        )
    )


def _plain(counts: JournalCounts, errors: dict[str, str], newest: list[ImageRow]) -> dict[str, Any]:
    return {
        "images": counts.images,
        "studies": counts.studies,
        "not_analysable": counts.not_analysable,
        "waiting": {
            stage: {
                "jobs": number,
                "oldest_seconds": round(counts.oldest_waiting_seconds[stage], 1),
            }
            for stage, number in counts.waiting.items()
        },
        "deliveries": {
            destination: {
                **{state: counts.deliveries[destination, state] for state in DeliveryState},
                "last_error": errors.get(destination),
            }
            for destination in _destinations(counts)
        },
        "newest": [
            {
                "key": image.key,
                "received_at": image.received_at.isoformat(),
                "state": image.state,
                "probability_malignant": image.outcome and image.outcome.probability_malignant,
                "decision": image.outcome and image.outcome.decision,
                "unlike_training": bool(image.outcome and image.outcome.unlike_training),
                "reason": _reason(image),
                "last_error": _error(image),
            }
            for image in newest
        ],
    }


def _tables(counts: JournalCounts, errors: dict[str, str], newest: list[ImageRow]) -> Group:
    images = Table("state", "images", title="Images", title_justify="left")
    for state, number in counts.images.items():
        images.add_row(state, str(number), style="red" if _bad(state, number) else None)
    for reason, number in sorted(counts.not_analysable.items()):
        images.add_row(f"  not analysable: {reason}", str(number), style="dim")

    if any(counts.studies.values()):
        for study_state, number in counts.studies.items():
            images.add_row(f"  studies {study_state}", str(number), style="dim")

    waiting = Table("stage", "jobs", "oldest", title="Waiting", title_justify="left")
    for stage, number in counts.waiting.items():
        waiting.add_row(stage, str(number), f"{counts.oldest_waiting_seconds[stage]:.0f} s")

    deliveries = Table(
        "destination", *DeliveryState, "last error", title="Deliveries", title_justify="left"
    )
    for destination in _destinations(counts):
        numbers = [str(counts.deliveries[destination, state]) for state in DeliveryState]
        deliveries.add_row(destination, *numbers, errors.get(destination, ""))

    table = Table("key", "state", "score", "reason", title="Newest images", title_justify="left")
    for image in newest:
        table.add_row(image.key, image.state, _score(image), _reason(image) or _error(image) or "")
    return Group(images, waiting, deliveries, table)


def _destinations(counts: JournalCounts) -> list[str]:
    return sorted({destination for destination, _ in counts.deliveries})


def _bad(state: ImageState, number: int) -> bool:
    return state is ImageState.FAILED and number > 0


def _score(image: ImageRow) -> str:
    if image.outcome is None or image.outcome.probability_malignant is None:
        return ""
    doubt = ", unlike training" if image.outcome.unlike_training else ""
    return f"{image.outcome.probability_malignant:.3f} {image.outcome.decision}{doubt}"


def _reason(image: ImageRow) -> str | None:
    """Why there is no score: the reason code of an image that was ignored or not analysable."""
    return image.ignored_reason or (image.outcome.reason if image.outcome else None)


def _error(image: ImageRow) -> str | None:
    """The image's own last error, or else that of a delivery which is not done."""
    errors = [delivery.last_error for delivery in image.deliveries]
    return image.last_error or next((error for error in errors if error), None)
