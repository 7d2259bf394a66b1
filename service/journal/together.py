"""Calls of several threads that share one transaction, and so one wait for the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


@dataclass
class _Call(Generic[_Item, _Answer]):
    """answers: one once it is done. is_alone: it is still to be made, by its own thread."""

    item: _Item
    answers: list[_Answer] = field(default_factory=list)
    is_alone: bool = False
    woken: threading.Event = field(default_factory=threading.Event)


class Together(Generic[_Item, _Answer]):
    """Who comes while others are under way waits, and then goes with all who came meanwhile.

    Nobody waits for others to come: a call that finds nobody is made at once.

    together: one answer an item, in their order; may raise.
    alone: the same of one item. It is called, by each in his own thread, after ``together`` has
        raised for several: what is wrong with one item is no other's business.
    """

    def __init__(
        self,
        together: Callable[[Sequence[_Item]], Sequence[_Answer]],
        alone: Callable[[_Item], _Answer],
    ) -> None:
        self._together = together
        self._alone = alone
        self._lock = threading.Lock()
        self._waiting: list[_Call[_Item, _Answer]] = []
        self._is_led = False

    def call(self, item: _Item) -> _Answer:
        """Raises what ``together`` or ``alone`` raises for this item."""
        mine = _Call[_Item, _Answer](item)
        with self._lock:
            self._waiting.append(mine)
            leads, self._is_led = not self._is_led, True
        if not leads:
            mine.woken.wait()
        if not mine.answers and not mine.is_alone:
            self._lead()
        return mine.answers[0] if mine.answers else self._alone(item)

    def _lead(self) -> None:
        """Make the calls of all who wait, one's own among them, and pass the lead on."""
        with self._lock:
            calls, self._waiting = self._waiting, []
        try:
            for call, answer in zip(calls, self._together([c.item for c in calls]), strict=True):
                call.answers.append(answer)
        except Exception:
            if len(calls) == 1:
                raise
        finally:
            for call in calls:
                call.is_alone = not call.answers
                call.woken.set()
            with self._lock:
                self._is_led = bool(self._waiting)
                if self._is_led:
                    self._waiting[0].woken.set()
