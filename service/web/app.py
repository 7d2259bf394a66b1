"""The ASGI application: pages, REST API and files, with every error as a page or as JSON."""

from __future__ import annotations

import secrets
from importlib.metadata import version
from importlib.resources import files
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from service.analysis.decode_error import DecodeError
from service.analysis.model_package import ModelPackageError
from service.journal.journal import JournalError
from service.orders import NotDone
from service.web import api, entrance, pages
from service.web.accounts import AccountError
from service.web.gate import Forbidden, NotLoggedIn, Visitor
from service.web.pictures import NoPicture
from service.web.rendering import page
from service.web.site import NotThere, Site
from service.web.wall import Wall

_LOGIN_SECONDS = 600

_STATUS: dict[type[Exception], int] = {
    NotLoggedIn: 401,
    Forbidden: 403,
    NotThere: 404,
    NoPicture: 404,
    DecodeError: 404,
    NotDone: 409,
    AccountError: 503,
    JournalError: 503,
    ModelPackageError: 503,
}
"""What a handler may raise, and what the browser is answered; each text is for people."""


def build(site: Site) -> ASGIApp:
    """The application for ``site``."""
    app = FastAPI(
        title="SecondRead",
        version=version("secondread"),
        description="A second reader for breast ultrasound. Research use only.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.site = site
    app.include_router(api.router)
    app.include_router(pages.router)
    app.include_router(entrance.router)
    static = str(files("service.web").joinpath("static"))
    app.mount("/static", StaticFiles(directory=static), name="static")
    for kind in (*_STATUS, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _told)
    if site.oidc is not None:
        app.add_middleware(
            SessionMiddleware,
            secret_key=secrets.token_urlsafe(32),
            session_cookie="secondread-login",
            max_age=_LOGIN_SECONDS,
            path="/login",
            same_site="lax",
            https_only=site.settings.web.encrypted,
        )
    return Wall(app, site.settings.web.encrypted)


async def _told(request: Request, error: Exception) -> Response:
    status, text = _status_and_text(error)
    headers = dict(getattr(error, "headers", None) or {})
    if request.url.path.startswith("/api/"):
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        problem = {"title": text, "status": status}
        return JSONResponse(problem, status, headers, media_type="application/problem+json")
    if status == 401:
        asked = request.url.path if request.method == "GET" else "/"
        return RedirectResponse("/login?" + urlencode({"next": asked}), 303)
    answer = page(request, "error.html", _visitor(request), status, text=text)
    answer.headers.update(headers)
    return answer


def _status_and_text(error: Exception) -> tuple[int, str]:
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    if isinstance(error, RequestValidationError):
        places = sorted({".".join(map(str, each["loc"])) for each in error.errors()})
        return 422, f"not understood: {', '.join(places)}"
    if isinstance(error, NotLoggedIn):
        return 401, "log in first"
    status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
    return status, str(error)


def _visitor(request: Request) -> Visitor | None:
    """For the page's head."""
    site: Site = request.app.state.site
    try:
        return site.gate.visitor(request)
    except (NotLoggedIn, AccountError):
        return None
