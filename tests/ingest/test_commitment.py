"""A scanner that asks whether its images are kept is told the truth, here or where it listens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from service.association import Acceptor
from service.commitment.information import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    Report,
    action_information,
    read_event,
)
from service.commitment.reporter import Reporter
from service.config import Settings
from service.scu import send_files

US = "1.2.840.10008.5.1.4.1.1.6.1"
NEVER_SENT = (US, "1.2.826.0.1.99")


class Scanner:
    """Asks, and takes reports on its association and on a port of its own."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.came = threading.Event()
        self.roles: list[tuple[bool, bool]] = []
        ae = AE("SCANNER")
        ae.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
        self.acceptor = Acceptor(ae, "127.0.0.1", 0, [(evt.EVT_N_EVENT_REPORT, self._called)])
        self.association: Association | None = None

    def ask(self, port: int, information: Dataset, **different: object) -> int:
        """The status that the request got."""
        ae = AE("SCANNER")
        ae.add_requested_context(PUSH_MODEL)
        self.association = ae.associate(
            "127.0.0.1", port, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)]
        )
        assert self.association.is_established
        values = {
            "action_type": REQUEST_COMMITMENT,
            "class_uid": PUSH_MODEL,
            "instance_uid": PUSH_MODEL_INSTANCE,
            **different,
        }
        answer, _ = self.association.send_n_action(information, **values)
        return int(answer.Status)

    def release(self) -> None:
        if self.association is not None and self.association.is_established:
            self.association.release()

    def report(self) -> Report:
        assert self.came.wait(10)
        return self.reports[-1]

    def _called(self, event: evt.Event) -> tuple[int, None]:
        (context,) = event.assoc.accepted_contexts
        self.roles.append((context.as_scu, context.as_scp))
        return self._take(event)

    def _take(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(read_event(event.event_information))
        self.came.set()
        return 0x0000, None


@pytest.fixture
def scanner() -> Iterator[Scanner]:
    scanner = Scanner()
    yield scanner
    scanner.release()
    scanner.acceptor.stop()


@pytest.fixture
def sent(small_image) -> Callable[..., tuple[str, str]]:
    """``sent(ingest)``: the reference of an image that was stored."""

    def send(ingest) -> tuple[str, str]:
        path = small_image()
        (outcome,) = send_files([path], ingest.peer, "SCANNER")
        assert outcome.status == 0
        return US, str(read_file_meta_info(path).MediaStorageSOPInstanceUID)

    return send


def requests(ingest, outcome: str) -> float:
    labels = {"outcome": outcome}
    name = "secondread_commitment_requests_total"
    return ingest.metrics.registry.get_sample_value(name, labels) or 0.0


# On the same association


def test_what_was_stored_is_committed(ingest, scanner: Scanner, sent) -> None:
    stored = [sent(ingest), sent(ingest)]
    assert scanner.ask(ingest.port, action_information("1.2.9", stored)) == 0
    report = scanner.report()
    assert report.transaction_uid == "1.2.9"
    assert (report.committed, report.failed) == ({uid for _, uid in stored}, {})
    assert requests(ingest, "accepted") == 1


def test_what_was_not_is_named_with_its_reason(ingest, scanner: Scanner, sent) -> None:
    stored = sent(ingest)
    other_class = ("1.2.840.10008.5.1.4.1.1.3.1", sent(ingest)[1])
    asked = [stored, NEVER_SENT, other_class]
    assert scanner.ask(ingest.port, action_information("1.2.9", asked)) == 0
    report = scanner.report()
    assert report.committed == {stored[1]}
    assert report.failed == {NEVER_SENT[1]: 0x0112, other_class[1]: 0x0119}


def test_what_disk_no_longer_has_is_not_committed_until_it_is_sent_again(
    ingest, scanner: Scanner, small_image
) -> None:
    path = small_image()
    send_files([path], ingest.peer, "SCANNER")
    reference = (US, str(read_file_meta_info(path).MediaStorageSOPInstanceUID))
    (kept,) = ingest.images()
    kept.unlink()
    scanner.ask(ingest.port, action_information("1.2.8", [reference]))
    assert scanner.report().failed == {reference[1]: 0x0110}
    scanner.release()
    scanner.came.clear()

    send_files([path], ingest.peer, "SCANNER")
    scanner.ask(ingest.port, action_information("1.2.9", [reference]))
    assert scanner.report().committed == {reference[1]}


def test_many_requests_on_one_association_are_all_answered(
    ingest, scanner: Scanner, sent, eventually
) -> None:
    stored = sent(ingest)
    scanner.ask(ingest.port, action_information("1.2.0", [stored]))
    for number in range(1, 6):
        answer, _ = scanner.association.send_n_action(
            action_information(f"1.2.{number}", [stored]),
            REQUEST_COMMITMENT,
            PUSH_MODEL,
            PUSH_MODEL_INSTANCE,
        )
        assert answer.Status == 0
    wanted = {f"1.2.{number}" for number in range(6)}
    eventually(lambda: {each.transaction_uid for each in scanner.reports} == wanted)


@pytest.mark.parametrize(
    ("different", "status"),
    [({"action_type": 2}, 0x0123), ({"instance_uid": "1.2.3"}, 0x0112)],
)
def test_another_action_or_instance_is_refused(
    ingest, scanner: Scanner, different: dict[str, object], status: int
) -> None:
    information = action_information("1.2.9", [NEVER_SENT])
    assert scanner.ask(ingest.port, information, **different) == status
    assert requests(ingest, "refused") == 1


def test_a_request_about_nothing_is_refused(ingest, scanner: Scanner) -> None:
    assert scanner.ask(ingest.port, action_information("1.2.9", [])) == 0x0115


def test_who_leaves_at_once_is_recorded_and_may_ask_again(
    ingest, scanner: Scanner, sent, eventually
) -> None:
    stored = sent(ingest)
    release = threading.Event()
    kept = ingest.journal.kept
    ingest.journal.kept = lambda references: (release.wait(10), kept(references))[1]
    scanner.ask(ingest.port, action_information("1.2.9", [stored]))
    scanner.release()
    release.set()
    failed = ("secondread_commitment_reports_total", {"outcome": "failed"})
    eventually(lambda: ingest.metrics.registry.get_sample_value(*failed) == 1)
    assert scanner.reports == []
    ingest.journal.kept = kept

    scanner.ask(ingest.port, action_information("1.2.9", [stored]))
    assert scanner.report().committed == {stored[1]}


# Where the scanner listens


@pytest.fixture
def calling_back(start_ingest, scanner: Scanner):
    """An ingest that knows where the scanner listens, and the reporter of its delivery worker."""
    peers = [{"address": "127.0.0.1", "commitment_port": scanner.acceptor._address[1]}]
    scanner.acceptor.start()
    peers[0]["commitment_port"] = scanner.acceptor.port
    ingest = start_ingest(peers=peers)
    settings = Settings.model_validate(
        {
            "ingest": {"peers": peers},
            "retry": {"first_seconds": 0.1, "longest_seconds": 0.1},
            "delivery": {"connect_timeout": 2, "dimse_timeout": 2},
        }
    )
    ingest.reporter = Reporter(settings, ingest.spool, ingest.journal, ingest.metrics)
    return ingest


def report_due(ingest) -> int:
    """What the keeper and the delivery worker do; returns how many were due."""
    due = ingest.journal.overdue(30)
    commitments = [job for job in due if job.stage == "commitment"]
    for job in commitments:
        ingest.reporter.report(job.key)
    return len(commitments)


def test_a_scanner_that_listens_is_called(calling_back, scanner: Scanner, sent) -> None:
    stored = sent(calling_back)
    assert scanner.ask(calling_back.port, action_information("1.2.9", [stored])) == 0
    scanner.release()

    assert report_due(calling_back) == 1

    assert scanner.report().committed == {stored[1]}
    assert scanner.roles == [(True, False)], "it is the SCU, though it was called"
    assert report_due(calling_back) == 0


def test_one_that_is_down_is_called_again(calling_back, scanner: Scanner, sent, eventually) -> None:
    stored = sent(calling_back)
    scanner.ask(calling_back.port, action_information("1.2.9", [stored]))
    scanner.release()
    port = scanner.acceptor.port
    scanner.acceptor.stop()
    assert report_due(calling_back) == 1
    assert scanner.reports == []

    ae = AE("SCANNER")
    ae.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    scanner.acceptor = Acceptor(ae, "127.0.0.1", port, [(evt.EVT_N_EVENT_REPORT, scanner._called)])
    scanner.acceptor.start()
    eventually(lambda: report_due(calling_back) == 1)
    assert scanner.report().committed == {stored[1]}


def test_one_that_refuses_the_report_is_called_again(
    calling_back, scanner: Scanner, sent, eventually
) -> None:
    statuses = [0x0110, 0x0000]
    take = scanner._take
    scanner._take = lambda event: (take(event), (statuses.pop(0), None))[1]
    stored = sent(calling_back)
    scanner.ask(calling_back.port, action_information("1.2.9", [stored]))
    assert report_due(calling_back) == 1
    eventually(lambda: report_due(calling_back) == 1)
    assert len(scanner.reports) == 2
    assert report_due(calling_back) == 0


def test_one_that_grants_no_role_is_told_all_the_same(start_ingest, sent) -> None:
    """Scanners are met that take the report and answer no role selection."""
    scanner = Scanner()
    ae = AE("SCANNER")
    ae.add_supported_context(PUSH_MODEL)
    scanner.acceptor = Acceptor(ae, "127.0.0.1", 0, [(evt.EVT_N_EVENT_REPORT, scanner._take)])
    scanner.acceptor.start()
    peers = [{"address": "127.0.0.1", "commitment_port": scanner.acceptor.port}]
    ingest = start_ingest(peers=peers)
    settings = Settings.model_validate({"ingest": {"peers": peers}})
    ingest.reporter = Reporter(settings, ingest.spool, ingest.journal, ingest.metrics)
    stored = sent(ingest)
    scanner.ask(ingest.port, action_information("1.2.9", [stored]))
    assert report_due(ingest) == 1
    assert scanner.report().committed == {stored[1]}
    scanner.release()
    scanner.acceptor.stop()


def test_the_scp_role_is_accepted_from_a_destination_that_reports(ingest) -> None:
    ae = AE("PACS")
    ae.add_requested_context(PUSH_MODEL)
    role = build_role(PUSH_MODEL, scp_role=True)
    association = ae.associate("127.0.0.1", ingest.port, ext_neg=[role])
    (context,) = association.accepted_contexts
    assert (context.as_scu, context.as_scp) == (False, True)
    association.release()
