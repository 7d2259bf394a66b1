"""A scanner that has fallen silent is seen."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from service.scu import send_files

METRIC = "secondread_scanner_last_seen_timestamp_seconds"


def last_seen(ingest, scanner: str) -> float | None:
    return ingest.metrics.registry.get_sample_value(METRIC, {"scanner": scanner})


def test_a_scanner_is_seen_with_its_image(ingest, small_image) -> None:
    assert last_seen(ingest, "US1") is None
    send_files([small_image()], ingest.peer, "US1")
    assert abs(last_seen(ingest, "US1") - time.time()) < 5


def test_one_that_is_configured_is_remembered_over_a_restart(start_ingest, small_image) -> None:
    rules = [{"ae_title": title, "address": "127.0.0.1"} for title in ("US1", "US2", "*")]
    before = start_ingest(peers=rules)
    send_files([small_image()], before.peer, "US1")
    after = start_ingest(peers=rules)
    assert last_seen(after, "US1") == last_seen(before, "US1")
    assert last_seen(after, "US2") is None


def test_titles_without_end_are_counted_as_others(ingest) -> None:
    scanners = ingest.scp._scanners
    for number in range(150):
        scanners.seen(f"US{number}", datetime.now(UTC))
    (metric,) = (each for each in ingest.metrics.registry.collect() if each.name == METRIC)
    names = {sample.labels["scanner"] for sample in metric.samples}
    assert len(names) == 101
    assert "others" in names
