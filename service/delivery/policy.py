"""What an answer of the PACS means, and what happens next; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.backoff import wait_seconds
from service.scu import Answer, SendOutcome
from service.sections import RetrySettings

_PROCESSING_FAILURE = 0x0110


class Verdict(StrEnum):
    """STORED: the destination has it. RETRY: it heals by waiting. REFUSED: not by waiting alone."""

    STORED = "stored"
    RETRY = "retry"
    REFUSED = "refused"


@dataclass(frozen=True)
class Next:
    """What to record after a failed attempt.

    retry_in: seconds; None gives up.
    """

    retry_in: float | None
    refused: bool


def judge(outcome: SendOutcome) -> Verdict:
    """The meaning of one C-STORE (PS3.4 Table B.2-1, PS3.7 Annex C).

    An unknown failure counts as a refusal, so that it ends where somebody sees it.
    """
    if outcome.answer is Answer.NO_CONTEXT:
        return Verdict.REFUSED
    if outcome.status is None:
        return Verdict.RETRY
    if outcome.stored:
        return Verdict.STORED
    if outcome.status >> 8 == 0xA7 or outcome.status == _PROCESSING_FAILURE:
        return Verdict.RETRY
    return Verdict.REFUSED


def judge_all(outcomes: Sequence[SendOutcome]) -> Verdict:
    """The meaning of a whole attempt: what can heal is waited for before anything is given up."""
    verdicts = {judge(outcome) for outcome in outcomes}
    for verdict in (Verdict.RETRY, Verdict.REFUSED):
        if verdict in verdicts:
            return verdict
    return Verdict.STORED


def after_failure(
    verdict: Verdict, attempt: int, refusals: int, retry: RetrySettings, jitter: float
) -> Next:
    """Failures that heal are retried for as long as it takes, refusals ``retry.refusals`` times.

    attempt: number of the failed attempt, 1 for the first.
    refusals: refusals before this attempt.
    jitter: a random number 0–1.
    """
    refused = verdict is Verdict.REFUSED
    if refused and refusals + 1 >= retry.refusals:
        return Next(None, refused)
    return Next(wait_seconds(attempt, retry, jitter), refused)
