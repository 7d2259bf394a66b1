"""The model card, which is Markdown, as HTML."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from service.analysis.model_package import CARD_FILE


def card_html(package: Path) -> Markup:
    """Empty where the package has no card. HTML in it stays text: packages come from outside."""
    try:
        text = (package / CARD_FILE).read_text(encoding="utf-8")
    except OSError:
        return Markup()
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    return Markup(markdown.render(text))  # noqa: S704 it escapes what it is given
