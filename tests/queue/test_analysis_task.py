"""An analysis: one result for each image, tried again where we are at fault, then given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_sr.part10 import part10_bytes
from service.analysis.analyser import Analysis
from service.analysis.model_package import ModelPackageError
from service.analysis.models_in_hand import AskedModelMissing
from service.analysis.task import AnalysisTask
from service.config import Settings
from service.destination import Destination, DimseDestination, ObjectKind
from service.journal.journal import Journal, JournalError
from service.journal.records import (
    AnalysisJob,
    AnalysisOutcome,
    DeliveryState,
    ImageRow,
    ImageState,
    ReceivedImage,
)
from service.monitoring.metrics import Metrics
from service.outage import Outage
from service.queue.publisher import BrokerUnavailable
from service.results import InvalidObject
from service.sections import KeeperSettings, ReportNotAnalysed, ResultSettings, RetrySettings
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
PACS = DimseDestination(name="pacs", host="127.0.0.1", port=104, ae_title="PACS")


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

    def analyse(self, path: Path, **edition: object) -> Analysis:
        self.asked += 1
        self.edition = edition
        if isinstance(self.answer, Exception):
            raise self.answer
        return Analysis(self.answer, tuple((name, b"DICM") for name in self.answer.objects))


class OneModel:
    """Gives every image the same analyser."""

    def __init__(self, analyser: CannedAnalyser) -> None:
        self._analyser = analyser

    def analyser_for(self, job: AnalysisJob) -> nullcontext[CannedAnalyser]:
        return nullcontext(self._analyser)


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
        report_not_analysed: ReportNotAnalysed = ReportNotAnalysed.ALWAYS,
        publish: Callable[[str, str], None] | None = None,
    ) -> AnalysisTask:
        settings = Settings(
            data_dir=self.folder,
            destinations=destinations,
            retry=RetrySettings(analysis_attempts=3, first_seconds=10, longest_seconds=60),
            keeper=KeeperSettings(lease=10),
            results=ResultSettings(report_not_analysed=report_not_analysed),
        )

        def keep(key: str, destination: str) -> None:
            self.published.append((key, destination))

        return AnalysisTask(
            settings, self.spool, self.journal, OneModel(analyser), publish or keep, self.metrics
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
        def analyse(self, path: Path, **edition: object) -> Analysis:
            arrived.set()
            assert go_on.wait(10)
            return super().analyse(path, **edition)

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


def test_an_outage_is_waited_out_and_no_try_of_it_counts(house: House) -> None:
    analyser = CannedAnalyser(Outage("the server is away"))
    task = house.task(analyser)
    for tried in range(1, 9):
        task.run(house.key)
        assert analyser.asked == tried
        assert (house.row.state, house.row.attempts) == (ImageState.RECEIVED, 0)
        assert house.row.last_error == "the server is away"
        house.clock.let_pass(31)
    analyser.answer = RuntimeError()
    task.run(house.key)
    assert house.row.attempts == 1
    house.clock.let_pass(31)
    analyser.answer = SCORED
    task.run(house.key)
    assert house.row.state is ImageState.ANALYSED


def test_a_journal_that_is_away_when_the_model_is_chosen_is_no_failed_analysis(
    house: House,
) -> None:
    task = house.task(CannedAnalyser(JournalError("the journal's database fails")))
    with pytest.raises(JournalError):
        task.run(house.key)
    assert (house.row.state, house.row.last_error) == (ImageState.RECEIVED, None)
    house.clock.let_pass(11)
    house.task(CannedAnalyser(SCORED)).run(house.key)
    assert house.row.state is ImageState.ANALYSED


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (AskedModelMissing(), "the model that was asked for is not installed any more"),
        (ModelPackageError("/data/models/ab is damaged"), "secondread model list"),
    ],
)
def test_a_model_that_is_not_there_says_what_to_do(
    house: House, fault: Exception, advice: str
) -> None:
    house.task(CannedAnalyser(fault)).run(house.key)
    assert house.row.last_error is not None
    assert advice in house.row.last_error


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


@pytest.mark.parametrize(("wanted", "deliveries"), [("always", 1), ("on-request", 0), ("never", 0)])
def test_whether_the_pacs_hears_of_what_was_not_analysed_is_configured(
    house: House, wanted: ReportNotAnalysed, deliveries: int
) -> None:
    house.task(CannedAnalyser(REFUSED), report_not_analysed=wanted).run(house.key)
    assert house.row.state is ImageState.NOT_ANALYSABLE
    assert len(house.row.deliveries) == len(house.published) == deliveries


@pytest.mark.parametrize(
    ("objects", "sent"),
    [(("sc",), ("sc.dcm",)), (("sc", "sr"), ("sr.dcm", "sc.dcm")), (("summary",), ())],
)
def test_a_destination_gets_what_it_wants_in_our_order(
    house: House, objects: tuple[ObjectKind, ...], sent: tuple[str, ...]
) -> None:
    destination = DimseDestination(
        name="pacs", host="127.0.0.1", port=104, ae_title="PACS", objects=objects
    )
    house.task(CannedAnalyser(SCORED), destinations=(destination,)).run(house.key)
    assert [delivery.objects for delivery in house.row.deliveries] == [sent] * bool(sent)


def test_an_invalid_object_fails_at_once_with_the_reason_and_an_alert(house: House) -> None:
    analyser = CannedAnalyser(InvalidObject("sr.dcm is not valid: Modality: is missing"))
    house.task(analyser).run(house.key)
    assert house.row.state is ImageState.FAILED
    assert house.row.last_error == "sr.dcm is not valid: Modality: is missing"
    assert house.row.deliveries == ()
    assert house.metrics.registry.get_sample_value("secondread_invalid_objects_total") == 1


def test_a_second_analysis_is_told_what_it_replaces(house: House) -> None:
    house.task(CannedAnalyser(SCORED)).run(house.key)
    house.spool.write_results(house.key, [("sr.dcm", _report("2.25.5"))])
    assert house.journal.ask_again(house.key, "cd" * 32)
    analyser = CannedAnalyser(SCORED)
    house.task(analyser).run(house.key)
    assert analyser.edition["edition"] == 1
    assert analyser.edition["predecessor"].sop_instance_uid == "2.25.5"
    assert len(house.row.results) == 2


def test_outcomes_are_counted_by_state_and_reason(house: House) -> None:
    house.task(CannedAnalyser(REFUSED)).run(house.key)
    other = house.receive("1.2.4")
    house.task(CannedAnalyser(SCORED)).run(other)
    value = house.metrics.registry.get_sample_value
    labels = {"state": "not_analysable", "reason": "doppler"}
    assert value("secondread_outcomes_total", labels) == 1
    assert value("secondread_outcomes_total", {"state": "analysed", "reason": ""}) == 1
    scanner = {"scanner_model": "unnamed", "model_version": SCORED.model_version}
    assert value("secondread_malignant_probability_sum", scanner) == 0.75


def _report(uid: str) -> bytes:
    report = Dataset()
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    report.SOPInstanceUID = uid
    report.StudyInstanceUID, report.SeriesInstanceUID = "1.2", "1.3"
    return part10_bytes(report)
