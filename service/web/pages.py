"""The pages that people look at: HTML from templates, forms that work without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Path, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict
from starlette.responses import Response

from dicom_sr.rejection_note import RejectionReason
from service.destination_check import look_at
from service.journal.records import ImageFilter, ImageRow, ImageState
from service.orders import NotDone
from service.views import ImageBrief, ImageDetails, StatusView
from service.web.api import Decision
from service.web.gate import require_operator, require_token
from service.web.model_card import card_html
from service.web.rendering import page, redirect
from service.web.search import Found, search
from service.web.site import AVisitor, NotThere, Site, TheSite
from service.web.steps import steps_of

router = APIRouter(include_in_schema=False)

PAGE_IMAGES = 48
_YEAR = 365 * 86400

Key = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


class Choice(BaseModel):
    """What the list's form chooses; a field that is left empty chooses all."""

    model_config = ConfigDict(frozen=True)

    state: Annotated[ImageState | None, BeforeValidator(_empty_is_none)] = None
    decision: Annotated[Decision | None, BeforeValidator(_empty_is_none)] = None
    unlike: bool = False
    scanner: Annotated[str | None, BeforeValidator(_empty_is_none)] = None
    since: Annotated[date | None, BeforeValidator(_empty_is_none)] = None
    until: Annotated[date | None, BeforeValidator(_empty_is_none)] = None
    key: Annotated[str | None, BeforeValidator(_empty_is_none)] = None

    def filter(self) -> ImageFilter:
        """Days are those of this machine's time zone; ``until`` is a whole day."""
        return ImageFilter(
            state=self.state,
            decision=self.decision,
            unlike_training=True if self.unlike else None,
            scanner=self.scanner,
            since=_midnight(self.since),
            until=_midnight(self.until, days=1),
            key_prefix=self.key,
        )

    def query(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.model_dump(mode="json").items() if value}


def _midnight(day: date | None, days: int = 0) -> datetime | None:
    if day is None or not 1970 <= day.year <= 9000:
        return None
    return datetime.combine(day + timedelta(days), datetime.min.time()).astimezone()


@dataclass(frozen=True)
class StudyGroup:
    """Images of one study that follow one another in a list. first: the key of the first."""

    first: str
    images: tuple[ImageBrief, ...]


def _groups(rows: Sequence[ImageRow]) -> Iterator[StudyGroup]:
    for _, group in groupby(rows, key=lambda row: row.study_instance_uid or row.key):
        images = tuple(ImageBrief.of(row) for row in group)
        yield StudyGroup(images[0].key, images)


@router.get("/")
def images(
    request: Request,
    site: TheSite,
    visitor: AVisitor,
    choice: Annotated[Choice, Query()],
    after_time: datetime | None = None,
    after_key: str = "",
) -> Response:
    """The list. A page that is not the first does not move when new images come."""
    after = (after_time, after_key) if after_time and after_time.tzinfo else None
    rows = site.journal.images(PAGE_IMAGES + 1, choice.filter(), after)
    older = ""
    if len(rows) > PAGE_IMAGES:
        rows = rows[:PAGE_IMAGES]
        last = rows[-1]
        position = {"after_time": last.received_at.isoformat(), "after_key": last.key}
        older = "/?" + urlencode({**choice.query(), **position})
    return page(
        request,
        "images.html",
        visitor,
        studies=list(_groups(rows)),
        choice=choice,
        states=list(ImageState),
        scanners=site.scanners(),
        failed=site.journal.counts().images[ImageState.FAILED],
        older=older,
        newest="/?" + urlencode(choice.query()) if after else "",
    )


@router.post("/search")
def find(
    request: Request, site: TheSite, visitor: AVisitor, words: Annotated[str, Form(max_length=200)]
) -> Response:
    """A form that is posted, so that no UID gets into a URL, a history or a proxy's log."""
    found = search(site.journal, words.strip())
    match found:
        case Found(study=True, keys=[key, *_]):
            return redirect(f"/images/{key}/study")
        case Found(keys=[key]):
            return redirect(f"/images/{key}")
        case Found(prefix=str(prefix)):
            return redirect(f"/?key={prefix}")
        case Found(keys=[key, *_]):
            return redirect(f"/images/{key}/study")
    return page(request, "error.html", visitor, status=404, text="nothing was found")


@router.get("/images/{key}")
def image(request: Request, site: TheSite, visitor: AVisitor, key: Key) -> Response:
    return _image_page(request, site, visitor, site.image(key))


def _image_page(
    request: Request,
    site: Site,
    visitor: AVisitor,
    row: ImageRow,
    told: str = "",
    status: int = 200,
) -> Response:
    details = ImageDetails.of(row)
    return page(
        request,
        "image.html",
        visitor,
        status=status,
        image=details,
        result=details.results[-1] if details.results else None,
        steps=steps_of(row),
        overlay=site.pictures.overlay_size(row),
        orders=_possible(row),
        told=told,
    )


def _possible(row: ImageRow) -> set[str]:
    """Orders that may fit; the journal has the last word."""
    orders = set()
    if row.state is ImageState.FAILED:
        orders.add("replay")
    if row.state is ImageState.NOT_ANALYSABLE and row.outcome and not row.deliveries:
        orders.add("report")
    if row.outcome and row.state not in (ImageState.RECEIVED, ImageState.FAILED):
        orders.add("reanalyse")
        if row.outcome.objects and row.state is not ImageState.WITHDRAWN:
            orders.add("withdraw")
    return orders


@router.get("/images/{key}/study")
def study(request: Request, site: TheSite, visitor: AVisitor, key: Key) -> Response:
    """All images of the study that this one belongs to."""
    row = site.image(key)
    uid = row.study_instance_uid
    rows = site.journal.study_images(uid) if uid else [row]
    return page(
        request,
        "study.html",
        visitor,
        images=[ImageBrief.of(each) for each in rows],
        study_instance_uid=uid,
    )


@router.post("/images/{key}/{order}")
def order(
    request: Request,
    site: TheSite,
    visitor: AVisitor,
    key: Key,
    order: str,
    csrf: Annotated[str, Form()],
    reason: Annotated[str, Form(max_length=1024)] = "",
    patient_safety: Annotated[bool, Form()] = False,
) -> Response:
    require_operator(visitor)
    require_token(visitor, csrf)
    row, orders = site.image(key), site.orders_of(visitor)
    title = RejectionReason.PATIENT_SAFETY if patient_safety else RejectionReason.QUALITY
    try:
        match order:
            case "replay":
                orders.replay(row)
            case "report":
                orders.report(row)
            case "reanalyse":
                orders.reanalyse(row)
            case "withdraw":
                orders.withdraw(row, title, reason)
            case _:
                raise NotThere("there is no such order")
    except NotDone as error:
        return _image_page(request, site, visitor, site.image(key), told=str(error), status=409)
    return redirect(f"/images/{key}")


@router.post("/replay-failed")
def replay_failed(site: TheSite, visitor: AVisitor, csrf: Annotated[str, Form()]) -> Response:
    require_operator(visitor)
    require_token(visitor, csrf)
    site.orders_of(visitor).replay_all()
    return redirect("/")


@router.get("/status")
def status(request: Request, site: TheSite, visitor: AVisitor) -> Response:
    """What waits, and how each destination is."""
    return _status_page(request, site, visitor, {})


@router.post("/status/look")
def look(
    request: Request, site: TheSite, visitor: AVisitor, csrf: Annotated[str, Form()]
) -> Response:
    """Ask every destination whether it is there."""
    require_operator(visitor)
    require_token(visitor, csrf)
    found = {each.name: look_at(each, site.settings) for each in site.settings.destinations}
    return _status_page(request, site, visitor, found)


def _status_page(
    request: Request, site: Site, visitor: AVisitor, found: dict[str, Any]
) -> Response:
    view = StatusView.of(site.journal.counts(), site.journal.delivery_errors())
    configured = {each.name: str(each) for each in site.settings.destinations}
    return page(
        request,
        "status.html",
        visitor,
        view=view,
        names=sorted(configured.keys() | view.deliveries.keys()),
        configured=configured,
        found=found,
        free_bytes=site.pictures.free_bytes(),
        low_water=site.settings.ingest.low_water_bytes,
    )


@router.get("/model")
def model(request: Request, site: TheSite, visitor: AVisitor) -> Response:
    models = site.models()
    manifest = models.active.manifest
    point = site.settings.analysis.operating_point
    return page(
        request,
        "model.html",
        visitor,
        model=manifest,
        card=card_html(models.active.folder),
        state=models.state,
        canary=models.canary,
        operating_point=point or next((each.name for each in manifest.operating_points), ""),
        threshold=manifest.threshold_of(point),
        evaluations=manifest.training.get("evaluations", {}),
    )
