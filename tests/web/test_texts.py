"""Every text of the page has its Chinese, and figures are written for people."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from dicom_sr.finding import WITHDRAWN
from dicom_sr.rejection_note import RejectionReason
from service.analysis.decode_error import DecodeError
from service.journal.records import DeliveryState, ImageState, Stage
from service.web.accounts import Role
from service.web.language import chinese
from service.web.rendering import environment

REPOSITORY = Path(__file__).resolve().parents[2]
WEB = REPOSITORY / "service" / "web"
TELL_PEOPLE = {"NotDone", "NotThere", "NoPicture", "Forbidden", "OidcRefused"}


def texts_of_templates() -> set[str]:
    found = set()
    for path in (WEB / "templates").glob("*.html"):
        text = path.read_text()
        found |= set(re.findall(r"""\b_\(["']([^"']+)["']\)""", text))
        for loop in re.findall(r"{% for [^%]*in (\[[^\]]*\])", text):
            found |= {
                each
                for each in re.findall(r'"([^"]+)"', loop)
                if not each.startswith("/") and each not in ("replay", "report", "reanalyse")
            }
        environment().parse(text)
    return found


def texts_of_errors() -> set[str]:
    """What is said with an exception that the page shows, where it is a whole text."""
    found = set()
    for path in (*WEB.glob("*.py"), REPOSITORY / "service" / "orders.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(getattr(node, "func", None), "id", None)
            if isinstance(node, ast.Call) and name in TELL_PEOPLE and node.args:
                said = node.args[0]
                if isinstance(said, ast.Constant):
                    found.add(said.value)
    return found


def reasons() -> set[str]:
    """Codes for which an image has no score."""
    found = {f"{WITHDRAWN}-{reason}" for reason in RejectionReason}
    found |= set(re.findall(r"``([a-z-]+)``", inspect.getdoc(DecodeError) or ""))
    for path in (REPOSITORY / "service").rglob("*.py"):
        found |= set(re.findall(r'NotAnalysed\(\s*"([a-z-]+)"', path.read_text()))
    return found


def test_every_text_has_its_chinese() -> None:
    states = {*ImageState, *DeliveryState, *Stage, *Role}
    steps = {"received", "analysis began", "result kept", "decode", "screen", "inference", "report"}
    wanted = texts_of_templates() | texts_of_errors() | reasons() | steps
    wanted |= {state.value for state in states}
    assert len(wanted) > 120, "the search for texts finds texts"
    assert wanted - chinese().keys() == set()


def test_no_chinese_is_left_over() -> None:
    """Of texts that the page no longer has."""
    everything = "".join(
        path.read_text()
        for path in (REPOSITORY / "service").rglob("*")
        if path.suffix in (".py", ".html")
    )
    known = reasons() | {"Not Found", "Method Not Allowed"}
    assert {text for text in chinese() if text not in everything} - known == set()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0123, "12 ms"),
        (3.44, "3.4 s"),
        (99.9, "99.9 s"),
        (100, "2 min"),
        (3600, "60 min"),
        (7200, "2 h"),
        (100_000, "28 h"),
        (172_800, "2 d"),
    ],
)
def test_durations_are_written_for_people(seconds: float | None, text: str) -> None:
    assert environment().filters["seconds"](seconds) == text
