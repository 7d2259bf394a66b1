"""Calls of several threads that share one transaction."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.journal.together import Together


class Ledger:
    """Remembers who went together; the first call waits until the others have come."""

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.groups: list[list[int]] = []
        self.alone: list[int] = []
        self.go_on = threading.Event()
        self._bad = set(bad)
        self.together = Together(self._record, self._record_one)

    def _record(self, items: Sequence[int]) -> list[int]:
        self.go_on.wait(20)
        self.groups.append(list(items))
        if self._bad & set(items):
            raise ValueError(items)
        return [10 * item for item in items]

    def _record_one(self, item: int) -> int:
        self.alone.append(item)
        if item in self._bad:
            raise ValueError(item)
        return 10 * item


def waiting(ledger: Ledger) -> int:
    return len(ledger.together._waiting)


def test_who_comes_meanwhile_goes_together_with_the_next(eventually) -> None:
    ledger = Ledger()
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(ledger.together.call, 0)
        eventually(lambda: ledger.together._is_led and not waiting(ledger))
        rest = [pool.submit(ledger.together.call, item) for item in range(1, 16)]
        eventually(lambda: waiting(ledger) == 15)
        ledger.go_on.set()
        assert first.result(20) == 0
        assert [each.result(20) for each in rest] == [10 * item for item in range(1, 16)]
    assert ledger.groups[0] == [0]
    assert sorted(ledger.groups[1]) == list(range(1, 16))
    assert len(ledger.groups) == 2
    assert ledger.alone == []


def test_one_alone_waits_for_nobody() -> None:
    ledger = Ledger()
    ledger.go_on.set()
    assert [ledger.together.call(item) for item in range(3)] == [0, 10, 20]
    assert ledger.groups == [[0], [1], [2]]


def test_a_bad_one_spoils_no_other(eventually) -> None:
    ledger = Ledger(bad=[3])
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(ledger.together.call, 0)
        eventually(lambda: ledger.together._is_led and not waiting(ledger))
        rest = {item: pool.submit(ledger.together.call, item) for item in (1, 2, 3, 4)}
        eventually(lambda: waiting(ledger) == 4)
        ledger.go_on.set()
        assert first.result(20) == 0
        with pytest.raises(ValueError, match=r"^3$"):
            rest.pop(3).result(20)
        assert {item: each.result(20) for item, each in rest.items()} == {1: 10, 2: 20, 4: 40}
    assert sorted(ledger.alone) == [1, 2, 3, 4]


def test_a_bad_one_alone_raises_and_the_next_goes_on() -> None:
    ledger = Ledger(bad=[3])
    ledger.go_on.set()
    with pytest.raises(ValueError, match="3"):
        ledger.together.call(3)
    assert ledger.alone == []
    assert ledger.together.call(4) == 40


def test_a_storm_gets_every_answer() -> None:
    ledger = Ledger(bad=[77])
    ledger.go_on.set()

    def answer(item: int) -> int | str:
        try:
            return ledger.together.call(item)
        except ValueError:
            return "bad"

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(answer, range(2000)))
    assert answers == [10 * item if item != 77 else "bad" for item in range(2000)]
