"""The broker is a hint: without it images are received as ever, and the journal holds them."""

from __future__ import annotations

import threading
import time

from service.journal.records import ImageState
from service.scu import send_files


def test_broker_that_fails_costs_no_image(start_ingest, small_image, eventually) -> None:
    def broken(_key: str) -> None:
        raise ConnectionError("no broker")

    ingest = start_ingest(publish=broken)
    outcomes = send_files([small_image() for _ in range(3)], ingest.peer, "SCANNER")
    assert [outcome.status for outcome in outcomes] == [0x0000] * 3
    assert {row.state for row in ingest.rows()} == {ImageState.RECEIVED}
    failures = ingest.metrics.registry.get_sample_value
    eventually(lambda: failures("secondread_publish_failures_total") == 3)


def test_broker_that_hangs_delays_no_image(start_ingest, small_image) -> None:
    answer = threading.Event()
    ingest = start_ingest(publish=lambda key: answer.wait(30) and None)
    started = time.monotonic()
    outcomes = send_files([small_image() for _ in range(3)], ingest.peer, "SCANNER")
    assert [outcome.stored for outcome in outcomes] == [True] * 3
    assert time.monotonic() - started < 5
    answer.set()
