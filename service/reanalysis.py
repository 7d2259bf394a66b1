"""Many images analysed again, a few at a time, so that new ones need not wait behind them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.journal.journal import Journal
from service.journal.records import ImageFilter, ImageRow, Stage
from service.orders import NotDone, Orders

_PAGE = 500
_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class Choice:
    """keys: of images that can be analysed again, the oldest first.

    left_alone: how many cannot, by the reason.
    """

    keys: tuple[str, ...]
    left_alone: Counter[str]


class Reanalysis:
    """By one model: the digest of an installed package, or None for the active one."""

    def __init__(self, journal: Journal, orders: Orders, model: str | None) -> None:
        self._journal = journal
        self._orders = orders
        self._model = model

    def choose(self, chosen: ImageFilter) -> Choice:
        """Raises JournalError, ModelPackageError."""
        keys, left_alone = [], Counter[str]()
        for row in _rows(self._journal, chosen):
            try:
                self._orders.require_reanalysis(row, self._model)
            except NotDone as error:
                left_alone[str(error)] += 1
            else:
                keys.append(row.key)
        return Choice(tuple(reversed(keys)), left_alone)

    def order(self, keys: Sequence[str], at_once: int) -> Iterator[str | None]:
        """After each image None, or why it was left alone after all.

        at_once: while so many images wait for their analysis, it waits too.
        Raises JournalError, ModelPackageError.
        """
        room = 0
        for key in keys:
            while room <= 0:
                room = at_once - self._journal.counts().waiting[Stage.ANALYSIS]
                if room <= 0:
                    time.sleep(_WAIT_SECONDS)
            yield self._order(key)
            room -= 1

    def _order(self, key: str) -> str | None:
        row = self._journal.image(key)
        if row is None:
            return "no such image or result in the journal"
        try:
            self._orders.reanalyse(row, self._model)
        except NotDone as error:
            return str(error)
        return None


def _rows(journal: Journal, chosen: ImageFilter) -> Iterator[ImageRow]:
    """The newest first."""
    after = None
    while page := journal.images(_PAGE, chosen, after):
        yield from page
        after = (page[-1].received_at, page[-1].key)
