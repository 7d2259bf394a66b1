"""A hospital on two hosts: whatever is cut off, nothing is lost and nothing is doubled.

The data folder is one file system for both here. A network file system that hangs or forgets is not
tried: see docs/guarantees.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.journal.journal import Journal
from tests.conftest import Orthanc, RedisServer, running, running_orthanc, wait_until
from tests.journal.conftest import PostgreSQL, postgresql  # noqa: F401 a fixture
from tests.machines.hospital import Hospital
from tests.machines.hosts import Machines, can_make_networks, network
from tests.system.conftest import make_small_model

SECONDS = 90

pytestmark = pytest.mark.skipif(
    not can_make_networks(), reason="no network namespace may be made here: root alone may"
)


class Balanced(Hospital):
    """machines: two hosts behind a balancer."""

    def __init__(
        self, machines: Machines, journal: Journal, orthanc: Orthanc, folder: Path
    ) -> None:
        super().__init__(machines.port, journal, orthanc, folder)
        self.machines = machines


@pytest.fixture(scope="module")
def hospital(
    tmp_path_factory: pytest.TempPathFactory,
    postgresql: PostgreSQL,  # noqa: F811
) -> Iterator[Balanced]:
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
            yield Balanced(machines, journal, orthanc, folder / "scanner")
        finally:
            machines.stop()
            journal.close()


def test_both_hosts_work_and_nothing_is_doubled(hospital: Balanced) -> None:
    """Two ingests behind a balancer, two keepers that look at one journal, two of each worker."""
    sent = hospital.images(40)
    hospital.expect_one_result_each(sent, hospital.send(sent))
    for host in (hospital.machines.a, hospital.machines.b):
        assert host.count("ingest", "secondread_received_total", outcome="stored") > 0
        done = host.count("analysis", "secondread_outcomes_total", state="analysed", reason="")
        assert done > 0
        labels = {"destination": "pacs", "outcome": "delivered"}
        assert host.count("delivery", "secondread_deliveries_total", **labels) > 0


def test_a_host_that_is_cut_off_in_mid_work(hospital: Balanced) -> None:
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


def test_a_worker_that_loses_the_broker_alone(hospital: Balanced) -> None:
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


def test_a_host_that_loses_the_journal_alone(hospital: Balanced) -> None:
    """Its ingest refuses, and the scanner sends to the other one."""
    hospital.machines.balancer.close("journal")
    try:
        sent = hospital.images(20)
        hospital.expect_one_result_each(sent, hospital.send(sent))
    finally:
        hospital.machines.balancer.open("journal")
    wait_until(hospital.machines.b.all_work, SECONDS)


def test_a_keeper_that_freezes_and_thaws_beside_another(hospital: Balanced) -> None:
    sent = hospital.images(30)
    hospital.machines.a.freeze("keeper")
    thaw = threading.Timer(4, hospital.machines.a.thaw, ["keeper"])
    thaw.start()
    hospital.expect_one_result_each(sent, hospital.send(sent))
    thaw.join()
    time.sleep(1)
    hospital.expect_one_result_each(sent)


def test_an_ingest_that_is_killed_in_mid_stream(hospital: Balanced) -> None:
    sent = hospital.images(40)
    scanner = hospital.send(sent)
    wait_until(lambda: len(scanner.acknowledged) >= 5, 30)
    hospital.machines.a.kill("ingest")
    hospital.expect_one_result_each(sent, scanner)
    hospital.machines.a.start("ingest")
    wait_until(hospital.machines.a.all_work, SECONDS)
