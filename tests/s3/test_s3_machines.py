"""Two hosts that share no disk: what one receives the other analyses, whatever the store does.

The spool is a bucket of OpenStack Swift (tests/s3/swift_server.py); PostgreSQL, Redis and Orthanc
are as in tests/machines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from service.journal.journal import Journal
from service.journal.records import ImageState
from tests.conftest import RedisServer, _free_port, running, running_orthanc, wait_until
from tests.journal.conftest import PostgreSQL, postgresql  # noqa: F401 a fixture
from tests.machines.hospital import Hospital
from tests.machines.hosts import Host
from tests.s3.server import S3Server
from tests.system.conftest import make_small_model

SECRET_WORDS = ("a-secret-key", "Signature=")


@dataclass
class Site:
    """receiving: ingest, keeper and delivery. working: analysis."""

    s3: S3Server
    bucket: str
    receiving: Host
    working: Host
    hospital: Hospital

    def expect_all_there(self, images: int) -> None:
        """Each image once in the bucket, and each result; nothing beside them."""
        names = self.s3.names(self.bucket)
        assert len([name for name in names if name.startswith("images/")]) == images
        parcels = {name.split("/")[2] for name in names if name.startswith("results/")}
        assert len(parcels) == images
        assert list(self.receiving.folder.glob("data/cache/incoming/*")) == []


@pytest.fixture(scope="module")
def site(
    s3: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
    postgresql: PostgreSQL,  # noqa: F811
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    for name in ("redis", "model", "scanner"):
        (folder / name).mkdir()
    bucket, port = s3.make_bucket(), _free_port()
    database = postgresql.make_database()
    (folder / "journal.url").write_text(database)
    credentials = s3.write_credentials(folder / "credentials")
    model = make_small_model(folder / "model")
    with (
        running(RedisServer(folder / "redis")) as redis,
        running_orthanc(folder / "pacs") as orthanc,
    ):
        journal = Journal(database)
        journal.migrate()

        def host(name: str) -> Host:
            text = (
                f'data_dir = "{folder / name / "data"}"\nlog_level = "DEBUG"\n'
                f'journal.url_file = "{folder / "journal.url"}"\nbroker.url = "{redis.url}"\n'
                f'spool.bucket = "{bucket}"\nspool.endpoint = "{s3.url}"\nspool.timeout = 2\n'
                f'spool.credentials_file = "{credentials}"\n'
                f'analysis.model = "{model}"\n'
                f"ingest.port = {port}\ningest.low_water_bytes = 0\n"
                "ingest.max_associations_per_second = 1000\n"
                "keeper.interval = 0.5\nkeeper.lease = 2\nkeeper.publish_grace = 3\n"
                "keeper.sweep_seconds = 60\nkeeper.sweep_age = 3\n"
                "retry.first_seconds = 0.5\nretry.longest_seconds = 2\n"
                '[[destinations]]\nname = "pacs"\nobjects = ["sr", "sc"]\n'
                f'host = "127.0.0.1"\nport = {orthanc.port}\nae_title = "{orthanc.ae_title}"\n'
            )
            return Host(name, folder, text, "127.0.0.1", None)

        receiving, working = host("receiving"), host("working")
        try:
            receiving.start("ingest", "keeper", "delivery")
            working.start("analysis")
            wait_until(lambda: receiving.all_work() and working.all_work(), 90)
            hospital = Hospital(port, journal, orthanc, folder / "scanner")
            yield Site(s3, bucket, receiving, working, hospital)
        finally:
            receiving.stop()
            working.stop()
            journal.close()


def test_what_one_host_receives_the_other_analyses(site: Site) -> None:
    sent = site.hospital.images(4)
    site.hospital.expect_one_result_each(sent, site.hospital.send(sent))
    site.expect_all_there(4)


def test_an_outage_longer_than_all_tries_fails_no_job(site: Site) -> None:
    """retry.analysis_attempts is 4, and so often a worker has tried within seconds."""
    sent = site.hospital.images(1)
    site.working.freeze("analysis")
    site.hospital.send(sent).finish(30)
    site.s3.kill()
    site.working.thaw("analysis")
    try:
        wait_until(
            lambda: (
                site.working.count("analysis", "secondread_store_errors_total", operation="get") > 5
            ),
            60,
        )
        rows = site.hospital.rows(sent)
        assert {row.state for row in rows} == {ImageState.RECEIVED}
        assert any("the store does not answer" in (row.last_error or "") for row in rows)
        wait_until(lambda: not site.receiving.works("ingest"), 60)
        wait_until(lambda: site.receiving.count("keeper", "secondread_store_up") == 0, 60)
    finally:
        site.s3.start()
    site.hospital.expect_one_result_each(sent)
    wait_until(lambda: site.receiving.count("keeper", "secondread_store_up") == 1, 60)
    assert site.receiving.works("ingest")


def test_nothing_is_lost_and_nothing_doubled_while_the_store_and_its_users_die(site: Site) -> None:
    before = len([name for name in site.s3.names(site.bucket) if name.startswith("images/")])
    sent = site.hospital.images(30)
    scanner = site.hospital.send(sent)
    for number, part in enumerate((5, 12, 20), start=1):
        wait_until(lambda part=part: len(scanner.acknowledged) >= part, 60)
        site.s3.kill()
        time.sleep(1)
        if number == 1:
            site.working.kill("analysis")
            site.working.start("analysis")
        if number == 2:
            site.receiving.kill("ingest")
            site.receiving.start("ingest")
        site.s3.start()
    site.hospital.expect_one_result_each(sent, scanner)
    assert site.receiving.count("ingest", "secondread_received_total", outcome="refused") > 0
    wait_until(lambda: site.receiving.all_work() and site.working.all_work(), 30)
    site.expect_all_there(before + 30)


def test_no_secret_is_in_any_log(site: Site) -> None:
    for log in (*site.receiving.folder.glob("*.log"), *site.working.folder.glob("*.log")):
        text = log.read_text()
        assert not [word for word in SECRET_WORDS if word in text], log.name
