"""Login by a local account or the hospital's provider, logout, and the choice of a language."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from service.web.gate import LoginRefused, address_of, local_path, require_token
from service.web.language import COOKIE, LANGUAGES
from service.web.oidc import CALLBACK, OidcRefused
from service.web.rendering import page, redirect
from service.web.site import AVisitor, NotThere, Site, TheSite, site_of

router = APIRouter(include_in_schema=False)

_YEAR = 365 * 86400


@router.get("/login")
def login_form(request: Request, site: TheSite, next: str = "/") -> Response:
    return _login_page(request, site, local_path(next))


@router.post("/login")
def log_in(
    request: Request,
    site: TheSite,
    name: Annotated[str, Form(max_length=64)],
    password: Annotated[str, Form(max_length=1024)],
    next: Annotated[str, Form()] = "/",
) -> Response:
    try:
        session = site.gate.log_in(name, password, address_of(request))
    except LoginRefused as error:
        told = (
            "too many wrong passwords: wait a while"
            if error.locked
            else "name or password is wrong"
        )
        return _login_page(request, site, local_path(next), told, 429 if error.locked else 403)
    answer = redirect(local_path(next))
    site.gate.give_cookie(answer, session)
    return answer


def _login_page(
    request: Request, site: Site, next_path: str, told: str = "", status: int = 200
) -> Response:
    return page(
        request,
        "login.html",
        None,
        status=status,
        next=next_path,
        told=told,
        oidc=site.oidc.name if site.oidc else "",
        has_accounts=site.gate.has_accounts,
    )


@router.post("/logout")
def log_out(
    request: Request, site: TheSite, visitor: AVisitor, csrf: Annotated[str, Form()]
) -> Response:
    require_token(visitor, csrf)
    site.gate.log_out(request)
    answer = redirect("/login")
    site.gate.take_cookie(answer)
    return answer


@router.get("/login/oidc")
async def to_provider(request: Request) -> Response:
    site = site_of(request)
    if site.oidc is None:
        raise NotThere("there is no OpenID Connect here")
    try:
        return await site.oidc.send_away(request)
    except OidcRefused as error:
        return _login_page(request, site, "/", str(error), 502)


@router.get(CALLBACK)
async def from_provider(request: Request) -> Response:
    site = site_of(request)
    if site.oidc is None:
        raise NotThere("there is no OpenID Connect here")
    address = address_of(request)
    try:
        person = await site.oidc.take_back(request)
    except OidcRefused as error:
        site.gate.turn_away(error.name, address)
        return _login_page(request, site, "/", str(error), 403)
    answer = redirect("/")
    site.gate.give_cookie(answer, site.gate.let_in(person.name, person.role, address))
    return answer


@router.post("/language")
def choose_language(
    request: Request,
    language: Annotated[str, Form()],
    back: Annotated[str, Form()] = "/",
) -> Response:
    answer = redirect(local_path(back))
    if language in LANGUAGES:
        secure = site_of(request).settings.web.encrypted
        answer.set_cookie(COOKIE, language, max_age=_YEAR, samesite="lax", secure=secure)
    return answer
