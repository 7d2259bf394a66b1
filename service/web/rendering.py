"""Templates, and what each of them may use."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from service.web.gate import Visitor
from service.web.language import LANGUAGES, language_of, translator


@cache
def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("service.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["time"] = _time
    made.filters["seconds"] = _seconds
    made.filters["gigabytes"] = lambda number: f"{number / 1e9:.1f} GB"
    return made


def page(
    request: Request, template: str, visitor: Visitor | None, status: int = 200, **values: Any
) -> Response:
    """A page in the visitor's language."""
    language = language_of(request)
    content = (
        environment()
        .get_template(template)
        .render(
            _=translator(language),
            language=language,
            languages=LANGUAGES,
            visitor=visitor,
            here=request.url.path,
            **values,
        )
    )
    return HTMLResponse(content, status)


def redirect(path: str) -> Response:
    """To a page of ours, by GET."""
    return RedirectResponse(path, status_code=303)


def _time(moment: datetime | None) -> str:
    """In this machine's time zone."""
    return "–" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _seconds(number: float | None) -> str:
    """``12 ms``, ``3.4 s``, ``5 min``, ``2 h`` or ``3 d``."""
    if number is None:
        return "–"
    if number < 1:
        return f"{1000 * number:.0f} ms"
    if number < 100:
        return f"{number:.1f} s"
    for name, length in (("d", 172800), ("h", 7200), ("min", 60)):
        if number >= length:
            return f"{number / {'d': 86400, 'h': 3600, 'min': 60}[name]:.0f} {name}"
    raise AssertionError
