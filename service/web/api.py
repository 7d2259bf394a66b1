"""The REST API, which its OpenAPI description at ``/api/openapi.json`` tells in full."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.security import HTTPBearer
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import Response

from dicom_sr.rejection_note import RejectionReason
from service.journal.records import ImageFilter, ImageRow, ImageState
from service.orders import Orders
from service.views import ImageBrief, ImageDetails, StatusView
from service.web.gate import CSRF_HEADER, Visitor, require_operator, require_token
from service.web.pictures import png
from service.web.site import AVisitor, Site, TheSite

MOST_IMAGES = 500


class Problem(BaseModel):
    """RFC 9457."""

    title: str
    status: int


class Decision(StrEnum):
    """Of a result, at the operating point in force."""

    MALIGNANT = "malignant"
    BENIGN = "benign"


class Withdrawal(BaseModel):
    """Why a result is taken back."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"\S")]
    patient_safety: bool = False


class Done(BaseModel):
    """How many images (and summaries) the order was carried out for."""

    done: int


class ModelView(BaseModel):
    """The active model package."""

    name: str
    version: str
    sha256: str
    architecture: str
    intended_use: str
    operating_point: str = Field(description="the one in force, by name; empty: the only one")
    threshold: float
    training: dict[str, Any]
    activated_at: datetime | None = Field(description="null: it is that of the configuration")
    canary: str | None = Field(description="name and version of the model some new studies get")


_Answers = dict[int | str, dict[str, Any]]


def _problem(text: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    return {"description": text, "content": content}


NOT_LOGGED_IN: _Answers = {401: _problem("No API token, or one that is not known")}
NOT_UNDERSTOOD: _Answers = {
    400: _problem("The body is no text"),
    413: {"description": "The body is too large", "content": {"text/plain": {}}},
    422: _problem("The request is not as described"),
}
NOT_THERE: _Answers = {404: _problem("There is no such image, or no such picture of it")}
REFUSED: _Answers = {
    403: _problem("Only operators may do that"),
    409: _problem("It does not fit the image"),
}

_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def _no_number(value: object) -> object:
    """Which pydantic would take for seconds since 1970, while the description says date-time."""
    if isinstance(value, str) and value[4:5] != "-":
        raise ValueError("a date and a time as in RFC 3339")
    return value


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_no_number),
    AfterValidator(lambda at: min(max(at, _EARLIEST), _LATEST)),
]
"""No image came before or after these, and databases know no year 0."""

router = APIRouter(
    prefix="/api/v1",
    responses={**NOT_LOGGED_IN, **NOT_UNDERSTOOD},
    dependencies=[Depends(HTTPBearer(auto_error=False, description="secondread account token"))],
)

Key = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The image's key")]


def _operator(
    visitor: AVisitor,
    token: Annotated[
        str | None, Header(alias=CSRF_HEADER, description="Of a page's session; not with a token")
    ] = None,
) -> Visitor:
    require_operator(visitor)
    require_token(visitor, token)
    return visitor


AnOperator = Annotated[Visitor, Depends(_operator)]


@router.get("/status", tags=["status"])
def status(site: TheSite, _visitor: AVisitor) -> StatusView:
    """The journal at a glance."""
    return StatusView.of(site.journal.counts(), site.journal.delivery_errors())


@router.get("/images", tags=["images"])
def images(
    site: TheSite,
    _visitor: AVisitor,
    state: ImageState | None = None,
    decision: Decision | None = None,
    unlike_training: bool | None = None,
    scanner: Annotated[str | None, Query(max_length=16, description="Calling AE title")] = None,
    since: Annotated[Moment | None, Query(description="Received then or later")] = None,
    until: Annotated[Moment | None, Query(description="Received earlier than that")] = None,
    after_time: Annotated[
        Moment | None, Query(description="`received_at` of the last image before the page")
    ] = None,
    after_key: Annotated[
        str, Query(pattern="^([0-9a-f]{32})?$", description="Its key; with `after_time`")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_IMAGES)] = 100,
) -> list[ImageBrief]:
    """Images, the newest first."""
    chosen = ImageFilter(
        state=state,
        decision=decision,
        unlike_training=unlike_training,
        scanner=scanner,
        since=since,
        until=until,
    )
    after: tuple[datetime, str] | None = (after_time, after_key) if after_time else None
    return [ImageBrief.of(row) for row in site.journal.images(limit, chosen, after)]


@router.get("/images/{key}", tags=["images"], responses={**NOT_THERE})
def image(site: TheSite, _visitor: AVisitor, key: Key) -> ImageDetails:
    """One image and all that became of it."""
    return ImageDetails.of(site.image(key))


def _picture(kind: str) -> dict[str, Any]:
    content = {kind: {"schema": {"type": "string", "format": "binary"}}}
    return {
        "response_class": Response,
        "tags": ["pictures"],
        "responses": {200: {"content": content, "description": "The picture"}, **NOT_THERE},
    }


@router.get("/images/{key}/source.png", **_picture("image/png"))
def source(request: Request, site: TheSite, visitor: AVisitor, key: Key) -> Response:
    """The scored frame as it was received, else the first. The view is audited."""
    return _seen(
        request, site, visitor, key, "image/png", lambda row: png(site.pictures.source(row))
    )


@router.get("/images/{key}/overlay.png", **_picture("image/png"))
def overlay(request: Request, site: TheSite, visitor: AVisitor, key: Key) -> Response:
    """The overlay at the scale of the image, from the same top left pixel. The view is audited."""
    return _seen(request, site, visitor, key, "image/png", site.pictures.overlay)


@router.get("/images/{key}/thumbnail.jpg", **_picture("image/jpeg"))
def thumbnail(request: Request, site: TheSite, visitor: AVisitor, key: Key) -> Response:
    """The overlay, small. The view is audited."""
    return _seen(request, site, visitor, key, "image/jpeg", site.pictures.thumbnail)


def _seen(
    request: Request,
    site: Site,
    visitor: Visitor,
    key: str,
    kind: str,
    make: Callable[[ImageRow], bytes],
) -> Response:
    row = site.image(key)
    content = make(row)
    site.record_view(request, visitor, row)
    return Response(content, media_type=kind)


@router.post("/images/{key}/replay", tags=["orders"], responses={**NOT_THERE, **REFUSED})
def replay(site: TheSite, visitor: AnOperator, key: Key) -> Done:
    """Put an image that failed back to work."""
    return _order(site, visitor, key, Orders.replay)


@router.post("/images/{key}/report", tags=["orders"], responses={**NOT_THERE, **REFUSED})
def report(site: TheSite, visitor: AnOperator, key: Key) -> Done:
    """Send the report of an image that was not analysed, where it was kept back."""
    return _order(site, visitor, key, Orders.report)


@router.post("/images/{key}/reanalyse", tags=["orders"], responses={**NOT_THERE, **REFUSED})
def reanalyse(site: TheSite, visitor: AnOperator, key: Key) -> Done:
    """Analyse it again with the model that is active now; new results replace the old."""
    return _order(site, visitor, key, Orders.reanalyse)


@router.post("/images/{key}/withdraw", tags=["orders"], responses={**NOT_THERE, **REFUSED})
def withdraw(site: TheSite, visitor: AnOperator, key: Key, why: Withdrawal) -> Done:
    """Take the results back: a rejection note and a new report go to all who got them."""
    title = RejectionReason.PATIENT_SAFETY if why.patient_safety else RejectionReason.QUALITY
    return _order(site, visitor, key, lambda orders, row: orders.withdraw(row, title, why.reason))


def _order(
    site: Site, visitor: Visitor, key: str, order: Callable[[Orders, ImageRow], None]
) -> Done:
    order(site.orders_of(visitor), site.image(key))
    return Done(done=1)


@router.post("/replay-failed", tags=["orders"], responses={403: REFUSED[403]})
def replay_failed(site: TheSite, visitor: AnOperator) -> Done:
    """Put every failed image and summary back to work."""
    return Done(done=site.orders_of(visitor).replay_all())


@router.get("/model", tags=["model"], responses={**NOT_THERE})
def model(site: TheSite, _visitor: AVisitor) -> ModelView:
    """The active model: what it was trained on, and how it did on data it never saw."""
    models = site.models()
    manifest, canary = models.active.manifest, models.canary
    point = site.settings.analysis.operating_point
    points = manifest.operating_points
    return ModelView(
        name=manifest.name,
        version=manifest.version,
        sha256=manifest.sha256,
        architecture=manifest.architecture,
        intended_use=manifest.intended_use,
        operating_point=point or (points[0].name if points else ""),
        threshold=manifest.threshold_of(point),
        training=manifest.training,
        activated_at=models.state.activated_at,
        canary=f"{canary.name} {canary.version}" if canary else None,
    )
