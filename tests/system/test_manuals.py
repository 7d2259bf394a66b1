"""The manuals as a site: they build without a warning, read as they do on GitHub, and load nothing
from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import BaseModel

from service.config import Settings, load_settings
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *REPOSITORY.glob("[!C]*.md"), REPOSITORY / "CONTRIBUTING.md"])
"""That tell what is; changelog and decisions tell what was."""
LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""Elements that make a browser fetch something, and where they say what."""


class _Reader(HTMLParser):
    """paragraphs: texts of ``<p>``; blocks: what stands in one and cannot.

    loaded: what the page makes a browser fetch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.paragraphs: list[str] = []
        self.blocks: list[str] = []
        self.loaded: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "p":
            self.paragraphs.append("")
            self._inside = True
        elif self._inside and tag in ("div", "pre", "table", "ul", "ol"):
            self.blocks.append(tag)
        named = LOADING.get(tag)
        self.loaded += [value for name, value in attrs if name == named and value]

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.paragraphs[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site. A link, an anchor or a page that is not there fails it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def _read(page: Path) -> _Reader:
    reader = _Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader


def test_every_page_is_there(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS).with_suffix(".html")).is_file()


def test_lists_tables_and_code_are_what_they_are_on_github(site: Path) -> None:
    """There they need no empty line around them, here they do."""
    for page in site.rglob("*.html"):
        read = _read(page)
        assert read.blocks == [], page.name
        for text in read.paragraphs:
            assert not re.search(r"(^|\n)\s*([-*] |\|)|\n\s*\d+\. ", text), (page.name, text)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """A hospital's network has no way out."""
    for page in site.rglob("*.html"):
        foreign = [url for url in _read(page).loaded if re.match(r"(https?:)?//", url)]
        assert foreign == [], page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text()), style


def test_every_decision_is_listed() -> None:
    index = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    for page in (DOCS / "decisions").glob("[0-9]*.md"):
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert f"[{title}]({page.name})" in index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_keys_that_a_page_names_exist(page: Path) -> None:
    sections = {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    for name, key in re.findall(r"`(\w+)\.(\w+)", page.read_text(encoding="utf-8")):
        if name in sections and key not in ("py", "sqlite3"):
            assert key in sections[name].model_fields, f"{name}.{key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_configurations_that_a_page_shows_can_be_used(page: Path, tmp_path: Path) -> None:
    for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        shown = tmp_path / "secondread.toml"
        shown.write_text(block, encoding="utf-8")
        load_settings(shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tests_and_chores_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`(tests/[\w/*]+(?:\.py)?)`", text):
        assert list(REPOSITORY.glob(path)), path
    chores = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for chore in re.findall(r"`make ([a-z-]+)", text):
        assert re.search(rf"^{chore}:", chores, re.MULTILINE), chore
