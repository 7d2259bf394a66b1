"""The documentation's tables of states are the code's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from service.journal.records import CommitmentState, DeliveryState, ImageState, StudyState
from service.journal.states import (
    COMMITMENT_TRANSITIONS,
    DELIVERY_TRANSITIONS,
    IMAGE_TRANSITIONS,
    STUDY_TRANSITIONS,
    Transition,
)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "states.md"


def documented(section: str) -> list[tuple[tuple[str, ...], str, str]]:
    body = DOCUMENT.read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \| `(.+)` \|$", body, re.MULTILINE)
    return [(tuple(re.findall(r"`(\w+)`", before)), event, after) for before, event, after in rows]


@pytest.mark.parametrize(
    ("section", "transitions"),
    [
        ("Image", IMAGE_TRANSITIONS),
        ("Delivery", DELIVERY_TRANSITIONS),
        ("Study", STUDY_TRANSITIONS),
        ("Commitment", COMMITMENT_TRANSITIONS),
    ],
)
def test_the_document_shows_the_codes_table(
    section: str,
    transitions: Iterable[
        Transition[ImageState]
        | Transition[DeliveryState]
        | Transition[StudyState]
        | Transition[CommitmentState]
    ],
) -> None:
    assert documented(section) == [
        (tuple(each.before), each.event, each.after) for each in transitions
    ]


@pytest.mark.parametrize(
    ("states", "transitions"),
    [
        (ImageState, IMAGE_TRANSITIONS),
        (DeliveryState, DELIVERY_TRANSITIONS),
        (StudyState, STUDY_TRANSITIONS),
        (CommitmentState, COMMITMENT_TRANSITIONS),
    ],
)
def test_every_state_can_be_reached(states, transitions) -> None:
    reached = {each.after for each in transitions if not each.before}
    for _ in states:
        reached |= {each.after for each in transitions if reached & set(each.before)}
    assert reached == set(states)
