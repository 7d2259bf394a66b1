"""Where a destination commits, a parcel is delivered once it says so; what is lost goes again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt

from service.association import Acceptor
from service.commitment.information import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    event_information,
    read_action,
)
from service.commitment.reports import Reports
from service.delivery.deliverer import Deliverer
from service.journal.records import DeliveryState, ImageState
from service.sections import RetrySettings
from service.storage_scp import LocalArchive

PACS = "pacs"
LOST = 0x0112


class CommittingArchive(LocalArchive):
    """Commits, or not, on the association on which it is asked, or to ``calls``.

    fails: how often it says that it lost everything. status: its answer to the request.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fails = 0
        self.status = 0x0000
        self.calls: int | None = None
        self.silent = False
        self.asked: list[tuple[str, tuple[tuple[str, str], ...]]] = []
        self.answers: list[int] = []
        ae = AE(self.ae_title)
        for sop_class in ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7"):
            ae.add_supported_context(sop_class, ["1.2.840.10008.1.2.1"])
        ae.add_supported_context(PUSH_MODEL)
        handlers = [(evt.EVT_C_STORE, self.store), (evt.EVT_N_ACTION, self._asked)]
        self._acceptor = Acceptor(ae, "127.0.0.1", 0, handlers)

    def _asked(self, event: evt.Event) -> tuple[int, None]:
        transaction_uid, references = read_action(event.action_information)
        self.asked.append((transaction_uid, references))
        failures = {}
        if self.fails:
            self.fails -= 1
            failures = {references[0]: LOST}
        report = event_information(transaction_uid, references, failures)
        if self.status == 0 and not self.silent:
            threading.Timer(0.2, self._report, [event.assoc, *report]).start()
        return self.status, None

    def _report(self, association, event_type: int, information: Dataset) -> None:
        if self.calls is not None:
            ae = AE(self.ae_title)
            ae.add_requested_context(PUSH_MODEL)
            role = build_role(PUSH_MODEL, scp_role=True)
            association = ae.associate("127.0.0.1", self.calls, ext_neg=[role])
        answer, _ = association.send_n_event_report(
            information, event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        self.answers.append(answer.Status)
        if self.calls is not None:
            association.release()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[CommittingArchive]:
    archive = CommittingArchive(tmp_path / "archive")
    archive.start()
    yield archive
    archive.stop()


@pytest.fixture
def deliverer(office, archive: CommittingArchive) -> Deliverer:
    return committing(office, archive)


def committing(office, archive: LocalArchive, **sections: object) -> Deliverer:
    destination = {
        "name": PACS,
        "host": "127.0.0.1",
        "port": archive.port,
        "ae_title": archive.ae_title,
        "storage_commitment": True,
        "commitment_timeout": 600,
    }
    return office.deliverer(archive.port, destinations=[destination], **sections)


def test_a_report_on_the_same_association_delivers(
    office, deliverer: Deliverer, archive: CommittingArchive, results
) -> None:
    key = office.analysed(results())

    deliverer.deliver(key, PACS)

    assert office.delivery(key).state is DeliveryState.DELIVERED
    assert office.row(key).state is ImageState.DELIVERED
    ((_, references),) = archive.asked
    assert {uid for _, uid in references} == {path.stem for path in archive.files()}
    assert archive.answers == [0x0000]
    assert (office.count("stored"), office.count("delivered")) == (1, 1)


@pytest.fixture
def reporting_port(office) -> Iterator[int]:
    """Where SecondRead takes reports, as its ingest does."""
    ae = AE("SECONDREAD")
    ae.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    reports = Reports(office.journal, RetrySettings(), office.metrics)
    acceptor = Acceptor(ae, "127.0.0.1", 0, [(evt.EVT_N_EVENT_REPORT, reports.take)])
    acceptor.start()
    yield acceptor.port
    acceptor.stop()


def test_so_does_a_report_on_an_association_of_the_archives_own(
    office,
    deliverer: Deliverer,
    archive: CommittingArchive,
    reporting_port: int,
    results,
    eventually,
) -> None:
    archive.calls = reporting_port
    key = office.analysed(results())

    deliverer.deliver(key, PACS)

    eventually(lambda: office.delivery(key).state is DeliveryState.DELIVERED)
    eventually(lambda: archive.answers == [0x0000])


def test_what_is_not_committed_is_sent_again(
    office, deliverer: Deliverer, archive: CommittingArchive, results
) -> None:
    archive.fails = 1
    key = office.analysed(results())

    deliverer.deliver(key, PACS)

    waiting = office.delivery(key)
    assert waiting.state is DeliveryState.PENDING
    assert waiting.last_error == "1 of 2 objects not committed (0x0112)"
    for path in archive.files():
        path.unlink()
    office.wait_for_next_attempt(key)
    deliverer.deliver(key, PACS)
    assert office.delivery(key).state is DeliveryState.DELIVERED
    assert len(archive.files()) == 2
    (first, _), (second, _) = archive.asked
    assert first != second, "each question is a transaction of its own"


def test_what_is_never_committed_fails_for_good(
    office, archive: CommittingArchive, results
) -> None:
    deliverer = committing(office, archive, retry={"refusals": 2})
    archive.fails = 9
    key = office.analysed(results())

    deliverer.deliver(key, PACS)
    office.wait_for_next_attempt(key)
    deliverer.deliver(key, PACS)

    assert office.delivery(key).state is DeliveryState.FAILED
    assert office.row(key).state is ImageState.FAILED
    assert office.count("failed") == 1


def test_a_late_report_is_asked_for_again_and_nothing_is_sent_twice(
    office, deliverer: Deliverer, archive: CommittingArchive, results
) -> None:
    archive.silent = True
    key = office.analysed(results())
    deliverer.deliver(key, PACS)
    assert office.delivery(key).state is DeliveryState.STORED
    for path in archive.files():
        path.unlink()

    assert office.wait_for_next_attempt(key) == 600
    archive.silent = False
    deliverer.deliver(key, PACS)

    assert office.delivery(key).state is DeliveryState.DELIVERED
    assert archive.files() == []
    assert len(archive.asked) == 2


def test_an_archive_that_refuses_the_question_is_told_to_the_operator(
    office, archive: CommittingArchive, results
) -> None:
    deliverer = committing(office, archive, retry={"refusals": 1})
    archive.status = 0x0124
    key = office.analysed(results())

    deliverer.deliver(key, PACS)

    failed = office.delivery(key)
    assert failed.state is DeliveryState.FAILED
    assert failed.last_error is not None
    assert "refused the request for commitment (0x0124)" in failed.last_error


def test_so_is_one_that_knows_no_storage_commitment(
    office, local_archive: LocalArchive, results
) -> None:
    deliverer = committing(office, local_archive, retry={"refusals": 1})
    key = office.analysed(results())

    deliverer.deliver(key, PACS)

    failed = office.delivery(key)
    assert failed.last_error is not None
    assert "does not support storage commitment" in failed.last_error
    assert len(local_archive.files()) == 2


def test_an_archive_that_dies_before_the_question_is_asked_later(
    office, archive: CommittingArchive, results
) -> None:
    deliverer = committing(office, archive)
    key = office.analysed(results())
    job = office.journal.lease_delivery(key, PACS, 10)
    assert job is not None
    assert office.journal.record_stored(job, [("1.2.840.10008.5.1.4.1.1.7", "1.2.3")], 10)
    archive.stop()
    office.wait_for_lease()

    deliverer.deliver(key, PACS)

    waiting = office.delivery(key)
    assert waiting.state is DeliveryState.STORED
    assert waiting.last_error is not None
    assert "no connection" in waiting.last_error


@pytest.fixture
def report(reporting_port: int) -> Iterator[Callable[[Dataset], int]]:
    """``report(information)``: the status that an N-EVENT-REPORT with it gets."""
    ae = AE("ARCHIVE")
    ae.add_requested_context(PUSH_MODEL)
    role = build_role(PUSH_MODEL, scp_role=True)
    association = ae.associate("127.0.0.1", reporting_port, ext_neg=[role])
    yield (
        lambda information: (
            association.send_n_event_report(information, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)[
                0
            ].Status
        )
    )
    association.release()


def test_a_report_that_nobody_waits_for_is_taken_and_counted(
    office, report: Callable[[Dataset], int]
) -> None:
    _, information = event_information("1.2.9", [("1.2", "1.2.3")], {})
    assert report(information) == 0x0000
    assert office.reports("unknown") == 1


def test_an_unreadable_report_is_refused(office, report: Callable[[Dataset], int]) -> None:
    _, information = event_information("1.2.9", [("1.2", "1.2.3")], {})
    del information.TransactionUID
    assert report(information) == 0x0115
    assert office.reports("unreadable") == 1
