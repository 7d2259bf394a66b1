"""Another process at the journal: ``process.py ACTION URL KEYS...``, started by the tests.

It says ``ready``, waits for a line, acts, and prints one line for whatever it has done for sure.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from service.journal import receiving
from service.journal.database import Database
from service.journal.journal import Journal
from service.journal.records import ReceivedImage


def image(key: str) -> ReceivedImage:
    return ReceivedImage(key, f"1.2.{int(key, 16)}", "1", "2", "d", 1, "AE", datetime.now(UTC))


def migrate(journal: Journal, url: str, keys: Sequence[str]) -> None:
    journal.migrate()
    journal.check()
    print("migrated", flush=True)


def lease(journal: Journal, url: str, keys: Sequence[str]) -> None:
    for key in keys:
        if journal.lease_analysis(key, lease_seconds=60) is not None:
            print(key, flush=True)


def receive(journal: Journal, url: str, keys: Sequence[str]) -> None:
    for key in keys:
        journal.record_received(image(key))
        print(key, flush=True)


def receive_half(journal: Journal, url: str, keys: Sequence[str]) -> None:
    """Get as far as an insertion that is not committed, and stay there."""
    with Database(url).writing() as connection:
        receiving.record(connection, image(keys[0]), datetime.now(UTC), quiet_seconds=None)
        print("inserted", flush=True)
        time.sleep(60)


if __name__ == "__main__":
    action, url, *keys = sys.argv[1:]
    journal = Journal(url)
    print("ready", flush=True)
    sys.stdin.readline()
    {"migrate": migrate, "lease": lease, "receive": receive, "receive_half": receive_half}[action](
        journal, url, keys
    )
