"""The heartbeat of a lease, shared by analysis and delivery."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.journal.journal import JournalError

log = logging.getLogger(__name__)


@contextmanager
def keep_alive(renew: Callable[[], bool], every: float) -> Iterator[None]:
    """Call ``renew`` each ``every`` seconds in a thread while the block runs.

    renew: False says that the lease was lost: it is then left alone, and the journal decides
        whose result counts. A JournalError is logged, and the next beat tries again.
    """
    finished = threading.Event()

    def beat() -> None:
        while not finished.wait(every):
            try:
                if not renew():
                    log.warning("a lease was lost before its job was done")
                    return
            except JournalError:
                log.warning("a lease could not be renewed: the journal does not answer")

    heart = threading.Thread(target=beat, name="lease", daemon=True)
    heart.start()
    try:
        yield
    finally:
        finished.set()
        heart.join()
