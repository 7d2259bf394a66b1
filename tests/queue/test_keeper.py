"""The keeper brings back what was lost on the way, and outlives what it watches."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, ImageState, ReceivedImage
from service.keeper import Keeper
from service.monitoring.metrics import Metrics
from service.queue.broker import Broker
from service.queue.publisher import Publisher
from service.sections import KeeperSettings
from service.spool import Spool, image_key


class Ward:
    """A journal, a spool and a broker under one keeper; a lease of 2 s, a grace of 1 s."""

    def __init__(self, folder: Path, broker_url: str) -> None:
        self.folder = folder
        self.settings = Settings(
            data_dir=folder, keeper=KeeperSettings(interval=0.2, lease=2, publish_grace=1)
        )
        self.journal = Journal(self.settings.journal_url)
        self.journal.migrate()
        self.spool = Spool(folder / "spool")
        self.spool.prepare()
        self.metrics = Metrics()
        self.keeper = Keeper(
            self.settings,
            self.spool,
            self.journal,
            Broker(broker_url),
            Publisher(broker_url),
            self.metrics,
        )

    def receive(self, uid: str) -> str:
        """A received image whose message the broker has lost."""
        key = image_key(uid, "1.2.840.10008.1.2.1", "0" * 64)
        temporary = self.spool.incoming / key
        temporary.write_bytes(b"DICM")
        self.spool.keep_image(key, temporary)
        self.journal.record_received(
            ReceivedImage(
                key=key,
                sop_instance_uid=uid,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.6.1",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                digest="0" * 64,
                size_bytes=4,
                calling_ae_title="SCANNER",
                received_at=datetime.now(UTC),
            )
        )
        return key

    def is_analysed(self, key: str) -> bool:
        row = self.journal.image(key)
        assert row is not None
        return row.state is ImageState.ANALYSED

    def look_until(self, condition, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"still not so after {seconds} s"
            self.keeper.look()
            time.sleep(0.1)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def ward(tmp_path: Path, redis_server) -> Iterator[Ward]:
    ward = Ward(tmp_path, redis_server.url)
    yield ward
    ward.journal.close()


def test_a_job_whose_message_was_lost_is_published_after_the_grace(
    ward: Ward, redis_server, queue_length
) -> None:
    ward.receive("1.2.3")
    ward.keeper.look()
    assert queue_length(redis_server.url) == 0, "its own message may still be under way"
    ward.look_until(lambda: queue_length(redis_server.url) == 1)
    assert ward.value("secondread_republished_total", stage="analysis") == 1


def test_what_a_killed_worker_held_is_done_by_the_next_one_exactly_once(
    ward: Ward, redis_server, start_worker, publish, eventually
) -> None:
    key = ward.receive("1.2.3")
    first = start_worker(redis_server.url, ward.folder, seconds=30)
    publish(redis_server.url, key)
    eventually(lambda: first.keys("started") == [key])
    first.process.kill()
    killed = time.monotonic()
    second = start_worker(redis_server.url, ward.folder, seconds=0.1)
    ward.look_until(lambda: ward.is_analysed(key))
    assert time.monotonic() - killed < 10, "seconds, not the broker's visibility timeout"
    assert second.keys("done") == [key]


def test_everything_in_a_lost_queue_is_done_exactly_once(
    ward: Ward, redis_server, start_worker, publish, queue_length
) -> None:
    keys = [ward.receive(f"1.2.{number}") for number in range(10)]
    for key in keys:
        publish(redis_server.url, key)
    redis_server.kill()
    for path in (ward.folder / "redis" / "appendonlydir").iterdir():
        path.unlink()
    redis_server.start()
    assert queue_length(redis_server.url) == 0
    worker = start_worker(redis_server.url, ward.folder, seconds=0.05)
    ward.look_until(lambda: all(ward.is_analysed(key) for key in keys))
    assert sorted(worker.keys("done")) == sorted(keys)


def test_a_long_queue_is_not_published_again_and_again(
    ward: Ward, redis_server, publish, queue_length
) -> None:
    for number in range(5):
        publish(redis_server.url, ward.receive(f"1.2.{number}"))
    until = time.monotonic() + 4
    while time.monotonic() < until:
        ward.keeper.look()
        time.sleep(0.2)
    assert queue_length(redis_server.url) == 5


def test_a_broker_that_is_down_is_told_once_and_nothing_is_counted_as_published(
    ward: Ward, redis_server, caplog: pytest.LogCaptureFixture, queue_length
) -> None:
    ward.receive("1.2.3")
    redis_server.kill()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            ward.keeper.look()
        assert ward.value("secondread_broker_up") == 0
        time.sleep(1)
        redis_server.start()
        ward.look_until(lambda: queue_length(redis_server.url) == 1, 5)
    assert ward.value("secondread_broker_up") == 1
    messages = [record.getMessage() for record in caplog.records if record.name == "service.keeper"]
    assert len(messages) == 2, messages
    assert "works again" in messages[1]


def test_a_journal_that_is_away_is_told_once_and_looked_at_again(
    ward: Ward, redis_server, caplog: pytest.LogCaptureFixture, queue_length
) -> None:
    ward.receive("1.2.3")
    ward.journal.close()
    journal = ward.folder / "journal.sqlite3"
    away = [path.rename(path.with_name(f"away-{path.name}")) for path in ward.folder.glob("jour*")]
    journal.mkdir()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            ward.keeper.look()
        journal.rmdir()
        for path in away:
            path.rename(path.with_name(path.name.removeprefix("away-")))
        ward.look_until(lambda: queue_length(redis_server.url) == 1)
    messages = [record.getMessage() for record in caplog.records if record.name == "service.keeper"]
    assert len(messages) == 2, messages


def test_what_waits_is_measured(ward: Ward) -> None:
    for number in range(3):
        ward.receive(f"1.2.{number}")
    ward.keeper.look()
    assert ward.value("secondread_images", state="received") == 3
    assert ward.value("secondread_queue_depth", stage="analysis") == 3
    assert ward.value("secondread_spool_free_bytes") > 0


def test_the_oldest_image_and_what_each_destination_waits_for_are_measured(ward: Ward) -> None:
    ward.keeper.look()
    assert ward.value("secondread_oldest_image_seconds") == 0
    key = ward.receive("1.2.3")
    job = ward.journal.lease_analysis(key, 10)
    assert job is not None
    outcome = AnalysisOutcome(ImageState.ANALYSED, "0" * 64, objects=("sr.dcm",), uids=("1.2",))
    ward.journal.record_outcome(job, outcome, {"pacs": ("sr.dcm",), "archive": ("sr.dcm",)})
    delivery = ward.journal.lease_delivery(key, "archive", 10)
    assert delivery is not None
    ward.journal.record_delivered(delivery)
    time.sleep(0.2)
    ward.keeper._measured_at = float("-inf")
    ward.keeper.look()
    assert ward.value("secondread_oldest_image_seconds") >= 0.2
    assert ward.value("secondread_destination_waiting", destination="pacs") == 1
    assert ward.value("secondread_destination_oldest_seconds", destination="pacs") >= 0.2
    assert ward.value("secondread_destination_waiting", destination="archive") == 0
    assert ward.value("secondread_destination_oldest_seconds", destination="archive") == 0
