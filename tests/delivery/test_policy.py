"""What each answer of a PACS means, and how long a result is tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.delivery.policy import Next, Verdict, after_failure, judge, judge_all
from service.scu import Answer, SendOutcome
from service.sections import RetrySettings

RETRY = RetrySettings(refusals=3, first_seconds=2, longest_seconds=100)


def answered(status: int) -> SendOutcome:
    return SendOutcome(Path("sr.dcm"), "1.2", Answer.STATUS, status)


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007])
def test_success_and_warnings_are_stored(status: int) -> None:
    assert judge(answered(status)) is Verdict.STORED


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110])
def test_lack_of_resources_heals(status: int) -> None:
    assert judge(answered(status)) is Verdict.RETRY


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123, 0xCFFF, 0x0122, 0x0124, 0x0117, 0xD000])
def test_other_failures_are_refusals(status: int) -> None:
    assert judge(answered(status)) is Verdict.REFUSED


@pytest.mark.parametrize("answer", [Answer.NO_ANSWER, Answer.NOT_SENT])
def test_silence_heals(answer: Answer) -> None:
    assert judge(SendOutcome(Path("sr.dcm"), "1.2", answer)) is Verdict.RETRY


def test_rejected_presentation_context_is_a_refusal() -> None:
    assert judge(SendOutcome(Path("sr.dcm"), "1.2", Answer.NO_CONTEXT)) is Verdict.REFUSED


def test_attempt_is_stored_only_if_every_object_is() -> None:
    stored, busy, refused = answered(0x0000), answered(0xA700), answered(0xA900)
    assert judge_all([stored, stored]) is Verdict.STORED
    assert judge_all([stored, refused]) is Verdict.REFUSED
    assert judge_all([busy, refused]) is Verdict.RETRY


def test_what_heals_is_tried_for_as_long_as_it_takes() -> None:
    waits = [
        after_failure(Verdict.RETRY, attempt, refusals=0, retry=RETRY, jitter=0).retry_in
        for attempt in (1, 2, 3, 4, 1000)
    ]
    assert waits == [2, 4, 8, 16, 100]


def test_refusals_are_bounded() -> None:
    assert after_failure(Verdict.REFUSED, 1, 0, RETRY, 0) == Next(2, refused=True)
    assert after_failure(Verdict.REFUSED, 2, 1, RETRY, 0) == Next(4, refused=True)
    assert after_failure(Verdict.REFUSED, 3, 2, RETRY, 0) == Next(None, refused=True)
