"""An analysis: one result for each image, tried again where we are at fault, then given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.analysis.analyser import Analysis
from service.analysis.task import AnalysisTask
from service.config import DeliverySettings, Destination, KeeperSettings, RetrySettings, Settings
from service.journal.journal import Journal
from service.journal.records import (
    AnalysisOutcome,
    DeliveryState,
    ImageRow,
    ImageState,
    ReceivedImage,
)
from service.monitoring.metrics import Metrics
from service.queue.publisher import BrokerUnavailable
from service.spool import Spool, image_key

SCORED = AnalysisOutcome(
    ImageState.ANALYSED,
    model_sha256="0" * 64,
    objects=("sr.dcm", "sc.dcm"),
    frame=1,
    region=(0, 0, 10, 10),
    probability_malignant=0.75,
    probability_benign=0.25,
    threshold=0.5,
    decision="malignant",
    stage_seconds={"inference": 1.0},
)
REFUSED = AnalysisOutcome(
    ImageState.NOT_ANALYSABLE,
    model_sha256="0" * 64,
    objects=("sr.dcm",),
    reason="doppler",
    reason_text="The image shows Doppler.",
)
PACS = Destination(name="pacs", host="127.0.0.1", port=104, ae_title="PACS")


class Clock:
    """The journal's time; the tests let it pass."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 8, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def let_pass(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class CannedAnalyser:
    """Answers with one outcome, or raises; tells how often it was asked."""

    def __init__(self, answer: AnalysisOutcome | Exception) -> None:
        self.answer = answer
        self.asked = 0

    def analyse(self, path: Path, *, revision: int, started_at: datetime) -> Analysis:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return Analysis(self.answer, tuple((name, b"DICM") for name in self.answer.objects))


class House:
    """A journal, a spool, one received image, and the messages that were published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.journal = Journal(f"sqlite:///{folder / 'journal.sqlite3'}", clock=self.clock)
        self.journal.migrate()
        self.spool = Spool(folder / "spool")
        self.spool.prepare()
        self.metrics = Metrics()
        self.published: list[tuple[str, str]] = []
        self.key = self.receive("1.2.3")

    def receive(self, uid: str) -> str:
        digest = "0" * 64
        key = image_key(uid, "1.2.840.10008.1.2.1", digest)
        temporary = self.spool.incoming / key
        temporary.write_bytes(b"DICM")
        self.spool.keep_image(key, temporary)
        self.journal.record_received(
            ReceivedImage(
                key=key,
                sop_instance_uid=uid,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.6.1",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                digest=digest,
                size_bytes=4,
                calling_ae_title="SCANNER",
                received_at=self.clock.now,
            )
        )
        return key

    def task(
        self,
        analyser: CannedAnalyser,
        *,
        destinations: tuple[Destination, ...] = (PACS,),
        report_not_analysed: bool = True,
        publish: Callable[[str, str], None] | None = None,
    ) -> AnalysisTask:
        settings = Settings(
            data_dir=self.folder,
            destinations=destinations,
            retry=RetrySettings(analysis_attempts=3, first_seconds=10, longest_seconds=60),
            keeper=KeeperSettings(lease=10),
            delivery=DeliverySettings(report_not_analysed=report_not_analysed),
        )

        def keep(key: str, destination: str) -> None:
            self.published.append((key, destination))

        return AnalysisTask(
            settings, self.spool, self.journal, analyser, publish or keep, self.metrics
        )

    @property
    def row(self) -> ImageRow:
        row = self.journal.image(self.key)
        assert row is not None
        return row


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.journal.close()


def test_an_image_is_scored_its_results_kept_and_their_delivery_asked_for(house: House) -> None:
    house.task(CannedAnalyser(SCORED)).run(house.key)
    assert house.row.state is ImageState.ANALYSED
    assert house.row.outcome == SCORED
    files = {path.name for path in house.spool.results_folder(house.key).iterdir()}
    assert files == {"sr.dcm", "sc.dcm"}
    assert [(row.destination, row.state) for row in house.row.deliveries] == [
        ("pacs", DeliveryState.PENDING)
    ]
    assert house.published == [(house.key, "pacs")]


def test_a_doubled_message_is_analysed_once(house: House) -> None:
    analyser = CannedAnalyser(SCORED)
    for _ in range(3):
        house.task(analyser).run(house.key)
    assert analyser.asked == 1
    assert len(house.published) == 1


def test_two_workers_with_one_message_analyse_it_once(house: House) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    class Waiting(CannedAnalyser):
        def analyse(self, path: Path, *, revision: int, started_at: datetime) -> Analysis:
            arrived.set()
            assert go_on.wait(10)
            return super().analyse(path, revision=revision, started_at=started_at)

    first, second = Waiting(SCORED), CannedAnalyser(SCORED)
    thread = threading.Thread(target=house.task(first).run, args=(house.key,))
    thread.start()
    assert arrived.wait(10)
    house.task(second).run(house.key)
    go_on.set()
    thread.join(10)
    assert (first.asked, second.asked) == (1, 0)
    assert house.row.state is ImageState.ANALYSED


def test_a_message_for_an_unknown_image_is_dropped(house: House) -> None:
    analyser = CannedAnalyser(SCORED)
    house.task(analyser).run("f" * 32)
    assert analyser.asked == 0


def test_our_fault_is_tried_again_after_a_wait_and_then_given_up(house: House) -> None:
    analyser = CannedAnalyser(RuntimeError("Doe^Jane"))
    task = house.task(analyser)
    for attempt in (1, 2, 3):
        assert house.row.state is ImageState.RECEIVED
        task.run(house.key)
        task.run(house.key)
        assert analyser.asked == attempt, "the second message came before the next try was due"
        house.clock.let_pass(61)
    assert house.row.state is ImageState.FAILED
    task.run(house.key)
    assert analyser.asked == 3


def test_the_error_that_is_kept_names_a_class_and_a_line_and_nobody(house: House) -> None:
    house.task(CannedAnalyser(RuntimeError("Doe^Jane"))).run(house.key)
    assert house.row.last_error is not None
    assert "RuntimeError at test_analysis_task.py" in house.row.last_error
    assert "Doe" not in house.row.last_error


def test_a_retry_after_the_fault_has_gone_succeeds(house: House) -> None:
    analyser = CannedAnalyser(RuntimeError())
    task = house.task(analyser)
    task.run(house.key)
    house.clock.let_pass(61)
    analyser.answer = SCORED
    task.run(house.key)
    assert house.row.state is ImageState.ANALYSED


def test_a_missing_spool_file_says_what_to_do(house: House) -> None:
    house.spool.image_path(house.key).unlink()
    house.task(CannedAnalyser(SCORED)).run(house.key)
    assert house.row.last_error is not None
    assert "missing from the spool" in house.row.last_error


def test_an_image_that_kills_each_worker_is_given_up(house: House) -> None:
    for _ in range(3):
        assert house.journal.lease_analysis(house.key, 10) is not None
        house.clock.let_pass(11)
    analyser = CannedAnalyser(SCORED)
    house.task(analyser).run(house.key)
    assert analyser.asked == 0
    assert house.row.state is ImageState.FAILED


def test_a_broker_that_is_down_does_not_undo_the_result(house: House) -> None:
    def refuse(key: str, destination: str) -> None:
        raise BrokerUnavailable

    house.task(CannedAnalyser(SCORED), publish=refuse).run(house.key)
    assert house.row.state is ImageState.ANALYSED
    assert house.metrics.registry.get_sample_value("secondread_publish_failures_total") == 1


@pytest.mark.parametrize(("wanted", "deliveries"), [(True, 1), (False, 0)])
def test_whether_the_pacs_hears_of_what_was_not_analysed_is_configured(
    house: House, wanted: bool, deliveries: int
) -> None:
    house.task(CannedAnalyser(REFUSED), report_not_analysed=wanted).run(house.key)
    assert house.row.state is ImageState.NOT_ANALYSABLE
    assert len(house.row.deliveries) == len(house.published) == deliveries


def test_outcomes_are_counted_by_state_and_reason(house: House) -> None:
    house.task(CannedAnalyser(REFUSED)).run(house.key)
    other = house.receive("1.2.4")
    house.task(CannedAnalyser(SCORED)).run(other)
    value = house.metrics.registry.get_sample_value
    labels = {"state": "not_analysable", "reason": "doppler"}
    assert value("secondread_outcomes_total", labels) == 1
    assert value("secondread_outcomes_total", {"state": "analysed", "reason": ""}) == 1
    assert value("secondread_malignant_probability_sum") == 0.75
