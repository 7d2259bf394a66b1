"""A scanner that has fallen silent is seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from service.ingest.hours import working_hours
from service.ingest.settings import IngestSettings
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


SILENT = "secondread_scanner_silent_seconds"


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine's clock is Berlin's."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("hours", "days", "start", "end", "expected"),
    [
        ("07:00-18:00", "mon fri", "2026-03-06 17:00", "2026-03-09 10:00", 4.0),
        ("07:00-18:00", "mon fri", "2026-03-06 18:00", "2026-03-09 07:00", 0.0),
        ("07:00-18:00", "mon", "2026-03-09 08:00", "2026-03-09 08:30", 0.5),
        ("22:00-06:00", "fri", "2026-03-06 23:00", "2026-03-07 12:00", 7.0),
        ("22:00-06:00", "sat", "2026-03-06 23:00", "2026-03-07 12:00", 0.0),
        ("00:00-00:00", "sat sun", "2026-03-06 12:00", "2026-03-09 12:00", 48.0),
        # Summer time begins on this night, at two.
        ("00:00-06:00", "sun", "2026-03-28 12:00", "2026-03-29 12:00", 5.0),
        ("00:00-00:00", "mon tue wed thu fri sat sun", "2026-01-01 12:00", "2026-03-01 12:00", 744),
        ("07:00-18:00", "mon", "2026-03-09 12:00", "2026-03-09 11:00", 0.0),
    ],
)
def test_silence_counts_in_working_hours_alone(
    hours: str, days: str, start: str, end: str, expected: float
) -> None:
    week = working_hours(hours, days.split())
    ends = (datetime.fromisoformat(each).astimezone() for each in (start, end))
    assert week.seconds_between(*ends) == expected * 3600


def test_ingest_tells_the_silence_of_those_that_have_hours(start_ingest, small_image) -> None:
    always = {"hours": "00:00-00:00", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}
    ingest = start_ingest(
        peers=[
            {"ae_title": "US1", "address": "127.0.0.1", **always},
            {"ae_title": "US2", "address": "127.0.0.1", **always},
            {"ae_title": "US3", "address": "127.0.0.1"},
        ]
    )

    def silent(scanner: str) -> float | None:
        return ingest.metrics.registry.get_sample_value(SILENT, {"scanner": scanner})

    ingest.scp._scanners.seen("US1", datetime.now(UTC) - timedelta(hours=5))
    assert silent("US1") == pytest.approx(5 * 3600, abs=60)
    send_files([small_image()], ingest.peer, "US1")
    assert 0 <= silent("US1") < 60
    assert 0 <= silent("US2") < 60, "never heard of: since ingest began"
    assert silent("US3") is None


@pytest.mark.parametrize(
    ("peers", "words"),
    [
        ([{"hours": "7-18"}], "written as"),
        ([{"hours": "07:00-24:00"}], "written as"),
        ([{"hours": "07:00-18:00", "ae_title": "*"}], "name its ae_title"),
        ([{"hours": "07:00-18:00", "days": ["monday"]}], "days"),
        ([{"hours": "07:00-18:00"}, {}], "different hours"),
    ],
)
def test_hours_that_cannot_be_kept_are_refused(peers: list[dict], words: str) -> None:
    rules = [{"ae_title": "US1", "address": "127.0.0.1", **each} for each in peers]
    with pytest.raises(ValueError, match=words):
        IngestSettings.model_validate({"peers": rules})
