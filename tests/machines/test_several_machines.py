"""A hospital on two hosts: whatever is cut off, nothing is lost and nothing is doubled.

The data folder is one file system for both here. A network file system that hangs or forgets is not
tried: see docs/guarantees.md.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.journal.journal import Journal
from service.journal.records import ImageRow, ImageState
from tests.chaos.scanner import Scanner, Sent, make_image
from tests.conftest import RedisServer, running, running_orthanc, wait_until
from tests.journal.conftest import PostgreSQL, postgresql  # noqa: F401 a fixture
from tests.machines.hosts import Machines, can_make_networks, network
from tests.system.conftest import make_small_model

SECONDS = 90

pytestmark = pytest.mark.skipif(
    not can_make_networks(), reason="no network namespace may be made here: root alone may"
)


class Hospital:
    """machines: two hosts. What was sent is known by its files."""

    def __init__(self, machines: Machines, journal: Journal, orthanc: Any, folder: Path) -> None:
        self.machines = machines
        self.journal = journal
        self.orthanc = orthanc
        self._folder = folder
        self._number = 0

    def images(self, count: int) -> list[Sent]:
        made = [make_image(self._folder, self._number + each) for each in range(count)]
        self._number += count
        return made

    def send(self, sent: list[Sent]) -> Scanner:
        """Through the balancer, again and again until each is acknowledged."""
        scanner = Scanner(self.machines.port)
        scanner.start()
        scanner.send(*sent)
        return scanner

    def rows(self, sent: list[Sent]) -> list[ImageRow]:
        keys = [self.journal.keys_of(image.uid) for image in sent]
        rows = [self.journal.image(key) for each in keys for key in each]
        return [row for row in rows if row is not None]

    def expect_one_result_each(self, sent: list[Sent], *scanners: Scanner) -> None:
        """Acknowledged, delivered, once in the journal and once in the PACS."""
        for scanner in scanners:
            scanner.finish(SECONDS)
        if scanners:
            acknowledged = set.union(*(scanner.acknowledged for scanner in scanners))
            assert acknowledged == {image.path for image in sent}
        wait_until(
            lambda: (
                all(row.state is ImageState.DELIVERED for row in self.rows(sent))
                and len(self.rows(sent)) == len(sent)
            ),
            SECONDS,
        )
        rows = self.rows(sent)
        assert all(len(row.results) == 1 for row in rows)
        for row in rows:
            found = self.orthanc.find("Series", StudyInstanceUID=row.study_instance_uid)
            instances = [
                (series["MainDicomTags"]["Modality"], instance)
                for series in found
                for instance in series["Instances"]
            ]
            assert Counter(modality for modality, _ in instances) == {"SR": 1, "OT": 1}


@pytest.fixture(scope="module")
def hospital(
    tmp_path_factory: pytest.TempPathFactory,
    postgresql: PostgreSQL,  # noqa: F811
) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("machines")
    for name in ("redis", "model", "scanner"):
        (folder / name).mkdir()
    database = postgresql.make_database()
    model = make_small_model(folder / "model")
    with (
        network() as cable,
        running(RedisServer(folder / "redis")) as redis,
        running_orthanc(folder / "pacs") as orthanc,
    ):
        journal = Journal(database)
        journal.migrate()
        machines = Machines(folder, cable, database, redis, orthanc, model)
        try:
            machines.start()
            yield Hospital(machines, journal, orthanc, folder / "scanner")
        finally:
            machines.stop()
            journal.close()


def test_both_hosts_work_and_nothing_is_doubled(hospital: Hospital) -> None:
    """Two ingests behind a balancer, two keepers that look at one journal, two of each worker."""
    sent = hospital.images(40)
    hospital.expect_one_result_each(sent, hospital.send(sent))
    for host in (hospital.machines.a, hospital.machines.b):
        assert host.count("ingest", "secondread_received_total", outcome="stored") > 0
        done = host.count("analysis", "secondread_outcomes_total", state="analysed", reason="")
        assert done > 0
        labels = {"destination": "pacs", "outcome": "delivered"}
        assert host.count("delivery", "secondread_deliveries_total", **labels) > 0


def test_a_host_that_is_cut_off_in_mid_work(hospital: Hospital) -> None:
    """Its jobs are done by the other one; when it is back, it finishes nothing twice."""
    sent = hospital.images(60)
    before = hospital.send(sent[:30])
    wait_until(lambda: len(before.acknowledged) >= 5, 30)
    hospital.machines.network.cut()
    try:
        hospital.expect_one_result_each(sent, before, hospital.send(sent[30:]))
    finally:
        hospital.machines.network.mend()
    wait_until(hospital.machines.b.all_work, SECONDS)
    later = hospital.images(20)
    stored = hospital.machines.b.count("ingest", "secondread_received_total", outcome="stored")
    hospital.expect_one_result_each(later, hospital.send(later))
    hospital.expect_one_result_each(sent)
    now = hospital.machines.b.count("ingest", "secondread_received_total", outcome="stored")
    assert now > stored, "it takes part again"


def test_a_worker_that_loses_the_broker_alone(hospital: Hospital) -> None:
    """The partition between worker and broker: the journal is there, the messages are not."""
    hospital.machines.balancer.close("broker")
    try:
        sent = hospital.images(20)
        hospital.expect_one_result_each(sent, hospital.send(sent))
    finally:
        hospital.machines.balancer.open("broker")
    done = hospital.machines.b.count(
        "analysis", "secondread_outcomes_total", state="analysed", reason=""
    )

    def takes_part_again() -> bool:
        more = hospital.images(4)
        hospital.expect_one_result_each(more, hospital.send(more))
        return (
            hospital.machines.b.count(
                "analysis", "secondread_outcomes_total", state="analysed", reason=""
            )
            > done
        )

    wait_until(takes_part_again, SECONDS)


def test_a_host_that_loses_the_journal_alone(hospital: Hospital) -> None:
    """Its ingest refuses, and the scanner sends to the other one."""
    hospital.machines.balancer.close("journal")
    try:
        sent = hospital.images(20)
        hospital.expect_one_result_each(sent, hospital.send(sent))
    finally:
        hospital.machines.balancer.open("journal")
    wait_until(hospital.machines.b.all_work, SECONDS)


def test_a_keeper_that_freezes_and_thaws_beside_another(hospital: Hospital) -> None:
    sent = hospital.images(30)
    hospital.machines.a.freeze("keeper")
    thaw = threading.Timer(4, hospital.machines.a.thaw, ["keeper"])
    thaw.start()
    hospital.expect_one_result_each(sent, hospital.send(sent))
    thaw.join()
    time.sleep(1)
    hospital.expect_one_result_each(sent)


def test_an_ingest_that_is_killed_in_mid_stream(hospital: Hospital) -> None:
    sent = hospital.images(40)
    scanner = hospital.send(sent)
    wait_until(lambda: len(scanner.acknowledged) >= 5, 30)
    hospital.machines.a.kill("ingest")
    hospital.expect_one_result_each(sent, scanner)
    hospital.machines.a.start("ingest")
    wait_until(hospital.machines.a.all_work, SECONDS)
