"""The heartbeat: it beats while the work goes on, and never disturbs it."""

from __future__ import annotations

import threading

import pytest

from service.journal.journal import JournalError
from service.journal.lease import keep_alive


def test_it_beats_until_the_work_is_done() -> None:
    beats = threading.Semaphore(0)

    def renew() -> bool:
        beats.release()
        return True

    with keep_alive(renew, every=0.01):
        for _ in range(3):
            assert beats.acquire(timeout=5)
    while beats.acquire(blocking=False):
        pass
    assert not beats.acquire(timeout=0.1)


def test_lost_lease_is_left_alone() -> None:
    beats = []

    def renew() -> bool:
        beats.append(1)
        return False

    with keep_alive(renew, every=0.01):
        threading.Event().wait(0.2)
    assert len(beats) == 1


def test_journal_that_is_away_for_a_moment_does_not_stop_it() -> None:
    third = threading.Event()
    beats = []

    def renew() -> bool:
        beats.append(1)
        if len(beats) < 3:
            raise JournalError("away")
        third.set()
        return True

    with keep_alive(renew, every=0.01):
        assert third.wait(5)


def test_error_of_the_work_comes_through_and_ends_the_beat() -> None:
    with pytest.raises(ValueError, match="the work"), keep_alive(lambda: True, every=0.01):
        raise ValueError("the work")
    assert "lease" not in {thread.name for thread in threading.enumerate()}
