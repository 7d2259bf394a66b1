"""Which state may follow which, and by what: the one table that the journal's updates obey.

``docs/states.md`` shows the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from service.journal.records import CommitmentState, DeliveryState, ImageState, StudyState

State = TypeVar("State", ImageState, DeliveryState, StudyState, CommitmentState)


@dataclass(frozen=True)
class Transition(Generic[State]):
    """before: the states in which ``event`` may happen; empty if it makes the row."""

    event: str
    before: tuple[State, ...]
    after: State


_WITH_RESULT = (ImageState.ANALYSED, ImageState.NOT_ANALYSABLE)
_DONE = (*_WITH_RESULT, ImageState.DELIVERED, ImageState.WITHDRAWN)

STORED = Transition("stored", (), ImageState.RECEIVED)
STORED_BUT_NOT_FOR_US = Transition("stored, but not for us", (), ImageState.IGNORED)
SCORED = Transition("scored", (ImageState.RECEIVED,), ImageState.ANALYSED)
NOT_ANALYSED = Transition(
    "screened out or undecodable", (ImageState.RECEIVED,), ImageState.NOT_ANALYSABLE
)
ANALYSIS_GIVEN_UP = Transition("analysis given up", (ImageState.RECEIVED,), ImageState.FAILED)
DELIVERED_EVERYWHERE = Transition("delivered everywhere", _WITH_RESULT, ImageState.DELIVERED)
IMAGE_DELIVERY_GIVEN_UP = Transition(
    "a delivery given up", (*_WITH_RESULT, ImageState.WITHDRAWN), ImageState.FAILED
)
ANALYSIS_REPLAYED = Transition("replayed, no result", (ImageState.FAILED,), ImageState.RECEIVED)
SCORE_REPLAYED = Transition("replayed, with a score", (ImageState.FAILED,), ImageState.ANALYSED)
REASON_REPLAYED = Transition(
    "replayed, with a reason", (ImageState.FAILED,), ImageState.NOT_ANALYSABLE
)
WITHDRAWAL_REPLAYED = Transition("replayed, withdrawn", (ImageState.FAILED,), ImageState.WITHDRAWN)
RESULT_WITHDRAWN = Transition(
    "its result withdrawn",
    (*_WITH_RESULT, ImageState.DELIVERED, ImageState.FAILED),
    ImageState.WITHDRAWN,
)
REANALYSIS_ASKED = Transition("a new analysis asked for", _DONE, ImageState.RECEIVED)

IMAGE_TRANSITIONS = (
    STORED,
    STORED_BUT_NOT_FOR_US,
    SCORED,
    NOT_ANALYSED,
    ANALYSIS_GIVEN_UP,
    DELIVERED_EVERYWHERE,
    IMAGE_DELIVERY_GIVEN_UP,
    ANALYSIS_REPLAYED,
    SCORE_REPLAYED,
    REASON_REPLAYED,
    WITHDRAWAL_REPLAYED,
    RESULT_WITHDRAWN,
    REANALYSIS_ASKED,
)

TO_DELIVER = Transition("parcel made", (), DeliveryState.PENDING)
STORED_AT_DESTINATION = Transition(
    "stored at the destination",
    (DeliveryState.PENDING, DeliveryState.STORED),
    DeliveryState.DELIVERED,
)
STORED_UNCOMMITTED = Transition(
    "stored at a destination that commits", (DeliveryState.PENDING,), DeliveryState.STORED
)
COMMITTED = Transition("committed", (DeliveryState.STORED,), DeliveryState.DELIVERED)
NOT_COMMITTED = Transition("not committed", (DeliveryState.STORED,), DeliveryState.PENDING)
DELIVERY_GIVEN_UP = Transition(
    "given up", (DeliveryState.PENDING, DeliveryState.STORED), DeliveryState.FAILED
)
DELIVERY_REPLAYED = Transition("replayed", (DeliveryState.FAILED,), DeliveryState.PENDING)

DELIVERY_CANCELLED = Transition(
    "its result withdrawn",
    (DeliveryState.PENDING, DeliveryState.STORED, DeliveryState.FAILED),
    DeliveryState.CANCELLED,
)

DELIVERY_TRANSITIONS = (
    TO_DELIVER,
    STORED_AT_DESTINATION,
    STORED_UNCOMMITTED,
    COMMITTED,
    NOT_COMMITTED,
    DELIVERY_GIVEN_UP,
    DELIVERY_REPLAYED,
    DELIVERY_CANCELLED,
)

TO_SUMMARISE = Transition("first image", (), StudyState.PENDING)
SUMMARY_MADE = Transition("quiet, summary made", (StudyState.PENDING,), StudyState.SUMMARISED)
SUMMARY_GIVEN_UP = Transition("summary given up", (StudyState.PENDING,), StudyState.FAILED)
STUDY_CHANGED = Transition(
    "another image or result",
    (StudyState.PENDING, StudyState.SUMMARISED, StudyState.FAILED),
    StudyState.PENDING,
)

STUDY_TRANSITIONS = (TO_SUMMARISE, SUMMARY_MADE, SUMMARY_GIVEN_UP, STUDY_CHANGED)

TO_REPORT = Transition("commitment asked for", (), CommitmentState.PENDING)
ASKED_AGAIN = Transition("asked for again", tuple(CommitmentState), CommitmentState.PENDING)
REPORTED = Transition("reported", (CommitmentState.PENDING,), CommitmentState.REPORTED)
REPORT_GIVEN_UP = Transition("report given up", (CommitmentState.PENDING,), CommitmentState.FAILED)

COMMITMENT_TRANSITIONS = (TO_REPORT, ASKED_AGAIN, REPORTED, REPORT_GIVEN_UP)

OUTCOMES = {transition.after: transition for transition in (SCORED, NOT_ANALYSED)}
"""How an analysis ends, by the outcome's state."""

REPLAYS = {
    transition.after: transition
    for transition in (SCORE_REPLAYED, REASON_REPLAYED, WITHDRAWAL_REPLAYED)
}
"""How an image whose delivery failed goes back to work, by its result's state."""
