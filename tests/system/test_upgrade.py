"""A data folder of the previous version: its journal is upgraded, and the service goes on."""

from __future__ import annotations

import sqlite3
import subprocess
from collections import Counter
from contextlib import closing

from alembic import command
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage
from sqlalchemy import create_engine

from service.journal import migrations
from service.journal.records import DeliveryState, ImageState
from service.scu import send_files

SECONDS = 120
BREAST = "breast/uta7_Anonymized3_US000000.dcm"
IMPATIENT = ("keeper.interval = 0.5", "keeper.lease = 2", "keeper.publish_grace = 2")
PREVIOUS = "0004"


def make_previous(journal) -> None:
    """Put the rows of a SQLite journal into one of the previous schema, which replaces it.

    Columns that this schema lacks are dropped; its triggers count the rows anew.
    """
    old = journal.with_name("old.sqlite3")
    engine = create_engine(f"sqlite:///{old}")
    with engine.begin() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, PREVIOUS)
    engine.dispose()
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS new", (str(journal),))
        for table in ("image", "result", "study", "summary", "delivery", "commitment"):
            names = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")]
            columns = ", ".join(f'"{name}"' for name in names)
            connection.execute(
                f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}"
            )
    for path in journal.parent.glob("journal.sqlite3*"):
        path.unlink()
    old.rename(journal)


def test_a_service_goes_on_from_the_previous_versions_data(
    up, small_model, orthanc, us_dicom, copy_of, results_of, eventually
) -> None:
    def new(**elements):
        return copy_of(us_dicom / BREAST, **elements)

    def send(*paths) -> None:
        assert all(outcome.stored for outcome in send_files(paths, service.peer, "SCANNER"))

    def state(path):
        row = service.row(path)
        return row.state if row is not None else None

    service = up(small_model, destinations=[orthanc], extra=IMPATIENT)
    service.start()
    eventually(service.is_ready, SECONDS)
    delivered, withdrawn, analysed = new(), new(), new()
    ignored = as_secondary_capture(new())
    unreadable = new(PixelData=b"\0\0")
    send(delivered, ignored)
    eventually(lambda: state(delivered) is ImageState.DELIVERED, SECONDS)
    orthanc.freeze()
    send(withdrawn, analysed, unreadable)
    eventually(lambda: state(unreadable) is ImageState.NOT_ANALYSABLE, SECONDS)
    eventually(lambda: state(analysed) is ImageState.ANALYSED, SECONDS)
    eventually(lambda: state(withdrawn) is ImageState.ANALYSED, SECONDS)
    uid = str(dcmread(withdrawn).SOPInstanceUID)
    order = [*service.command("withdraw"), uid, "--reason", "wrong patient"]
    subprocess.run([*order, "--config", str(service.config)], check=True)
    service.kill()

    # Ingest alone, without workers: what it takes stays as it is.
    ingest = subprocess.Popen([*service.command("ingest"), "--config", str(service.config)])
    try:
        eventually(lambda: service.works("ingest"), SECONDS)
        waiting, leased, failed = new(), new(), new()
        send(waiting, leased, failed)
    finally:
        ingest.kill()
        ingest.wait(10)
    journal = service.journal
    assert journal.lease_analysis(service.row(leased).key, 2) is not None
    job = journal.lease_analysis(service.row(failed).key, 60)
    assert job is not None
    journal.record_analysis_failure(job, "OSError", None)
    journal.close()
    make_previous(service.data_dir / "journal.sqlite3")
    assert journal_version(service) == PREVIOUS
    orthanc.thaw()

    service.start()
    eventually(service.is_ready, SECONDS)

    assert journal_version(service) == migrations.newest()
    ends = {
        delivered: ImageState.DELIVERED,
        analysed: ImageState.DELIVERED,
        unreadable: ImageState.DELIVERED,
        waiting: ImageState.DELIVERED,
        leased: ImageState.DELIVERED,
        withdrawn: ImageState.WITHDRAWN,
        failed: ImageState.FAILED,
        ignored: ImageState.IGNORED,
    }
    eventually(lambda: {path: state(path) for path in ends} == ends, SECONDS)
    eventually(lambda: all_delivered(service.row(withdrawn)), SECONDS)
    for path in (delivered, analysed, waiting, leased):
        assert [each.Modality for each in results_of(orthanc, path)] == ["OT", "SR"]
    every = [each["MainDicomTags"]["SOPInstanceUID"] for each in orthanc.get("/instances?expand")]
    assert max(Counter(every).values()) == 1
    counted = service.journal.counts().images
    assert {key: number for key, number in counted.items() if number} == Counter(ends.values())


def as_secondary_capture(path):
    data_set = dcmread(path)
    data_set.SOPClassUID = SecondaryCaptureImageStorage
    data_set.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    data_set.save_as(path)
    return path


def all_delivered(row) -> bool:
    states = {delivery.state for delivery in row.deliveries}
    return states <= {DeliveryState.DELIVERED, DeliveryState.CANCELLED}


def journal_version(service) -> str:
    with closing(sqlite3.connect(service.data_dir / "journal.sqlite3")) as connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(version)
