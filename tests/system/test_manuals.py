"""The manuals build into a site without a warning, and say what the code says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from service.config import Settings
from service.destination import DimseDestination, StowDestination
from service.ingest.settings import PeerRule
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Links, anchors and pictures that lead nowhere, and pages that nobody is led to, are some."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site" / "index.html").read_text()
    assert "fonts.googleapis.com" not in page, "it works in a hospital without the Internet"


def test_the_list_of_decisions_is_whole() -> None:
    listed = (DOCS / "decisions" / "index.md").read_text()
    for path in (DOCS / "decisions").glob("0*.md"):
        title = path.read_text().splitlines()[0].removeprefix("# ")
        assert f"[{title}]({path.name})" in listed


def keys(model: type) -> set[str]:
    return set(model.model_fields)


def sections() -> dict[str, set[str]]:
    """Keys by section of the configuration, one level deep."""
    found = {}
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if hasattr(kind, "model_fields"):
            found[name] = keys(kind)
    found["destinations"] = keys(DimseDestination) | keys(StowDestination)
    found["peers"] = keys(PeerRule)
    return found


# Decisions tell what was, too.
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent == DOCS], ids=lambda page: page.stem
)
def test_the_keys_that_a_page_names_exist(page: Path) -> None:
    """`section.key` in text."""
    known = sections()
    for section, key in re.findall(r"`([a-z]+)\.([a-z_0-9]+)", page.read_text()):
        if section in known:
            assert key in known[section], f"{section}.{key}"


def blocks() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = page.read_text()
        found += [(page.stem, block) for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    return found


@pytest.mark.parametrize(("page", "block"), blocks())
def test_the_configuration_that_a_page_shows_can_be_used(page: str, block: str) -> None:
    values = tomllib.loads(block)
    assert TypeAdapter(Settings).validate_python(values)
