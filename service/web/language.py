"""English and Chinese. English texts are their own keys; ``chinese.json`` has the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files

from fastapi import Request

LANGUAGES = {"en": "English", "zh": "中文"}
COOKIE = "secondread-language"

Translate = Callable[[str], str]


def language_of(request: Request) -> str:
    """Chosen on the page, else what the browser prefers."""
    chosen = request.cookies.get(COOKIE)
    if chosen in LANGUAGES:
        return chosen
    for part in request.headers.get("Accept-Language", "").split(","):
        language = part.partition(";")[0].partition("-")[0].strip().lower()
        if language in LANGUAGES:
            return language
    return "en"


def translator(language: str) -> Translate:
    """What has no translation, such as an error's text, stays as it is."""
    if language == "zh":
        return lambda text: chinese().get(text, text)
    return lambda text: text.replace("not_analysable", "not analysable")


@cache
def chinese() -> dict[str, str]:
    text = files("service.web").joinpath("chinese.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
