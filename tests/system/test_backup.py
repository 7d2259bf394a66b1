"""A backup of a running service, and the service that goes on from it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import threading
from collections import Counter
from contextlib import closing

import pytest
from pydicom import dcmread

from service.journal.records import ImageState
from service.scu import send_files

SECONDS = 120
BREAST = "breast/uta7_Anonymized3_US000000.dcm"
IMAGES = 10
IMPATIENT = ("keeper.interval = 0.5", "keeper.lease = 2", "keeper.publish_grace = 2")


@pytest.fixture
def secondread():
    """``secondread(service, name, *arguments)``: a command with the service's configuration."""

    def run(service, name, *arguments) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*service.command(name), *map(str, arguments), "--config", str(service.config)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={key: text for key, text in os.environ.items() if "SECONDREAD_" not in key},
        )

    return run


class Scanner(threading.Thread):
    """Sends new images one by one until it is told to stop, and knows what was stored."""

    def __init__(self, service, new_image) -> None:
        super().__init__()
        self._service = service
        self._new_image = new_image
        self._stopping = threading.Event()
        self.acknowledged = []

    def run(self) -> None:
        while not self._stopping.wait(0.1):
            path = self._new_image()
            (outcome,) = send_files([path], self._service.peer, "SCANNER")
            if outcome.stored:
                self.acknowledged.append(path)

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def test_a_service_goes_on_from_a_backup_that_was_made_in_mid_stream(
    up, small_model, orthanc, us_dicom, copy_of, results_of, secondread, eventually, tmp_path
) -> None:
    first = up(small_model, destinations=[orthanc], extra=IMPATIENT)
    first.start()
    eventually(first.is_ready, SECONDS)
    orthanc.freeze()  # so that deliveries are under way when the backup begins
    scanner = Scanner(first, lambda: copy_of(us_dicom / BREAST))
    scanner.start()
    eventually(lambda: len(scanner.acknowledged) >= IMAGES, SECONDS)

    acknowledged = list(scanner.acknowledged)
    done = secondread(first, "backup", tmp_path / "backup", "--json")
    assert len(scanner.acknowledged) > len(acknowledged), "nothing came while it was made"
    scanner.stop()

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["database"] == "sqlite"
    with closing(sqlite3.connect(tmp_path / "backup" / "journal.sqlite3")) as copy:
        rows = dict(copy.execute("SELECT sop_instance_uid, state FROM image"))
    assert {str(dcmread(path).SOPInstanceUID) for path in acknowledged} <= rows.keys()
    assert "delivered" not in rows.values()

    orthanc.thaw()
    eventually(lambda: first.is_final(*acknowledged), SECONDS)
    first.kill()
    delivered = uids(orthanc)
    second = up(small_model, destinations=[orthanc], extra=IMPATIENT)
    done = secondread(second, "restore", tmp_path / "backup")
    assert done.returncode == 0, done.stderr
    second.start()
    eventually(lambda: second.is_final(*acknowledged), SECONDS)

    for path in acknowledged:
        assert second.row(path).state is ImageState.DELIVERED
        assert [each.Modality for each in results_of(orthanc, path)] == ["OT", "SR"]
    assert max(Counter(uids(orthanc)).values()) == 1
    assert set(delivered) <= set(uids(orthanc))


def uids(orthanc) -> list[str]:
    return [each["MainDicomTags"]["SOPInstanceUID"] for each in orthanc.get("/instances?expand")]


def test_what_is_backed_up_is_for_the_services_user_alone_and_sha256sum_can_check_it(
    up, small_model, secondread, us_dicom, eventually, tmp_path
) -> None:
    service = up(small_model)
    service.start()
    eventually(service.is_ready, SECONDS)
    send_files([us_dicom / BREAST], service.peer, "SCANNER")
    folder = tmp_path / "backup"
    assert secondread(service, "backup", folder).returncode == 0
    assert [path for path in folder.rglob("*") if path.stat().st_mode & 0o077] == []
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True
    )
    assert checked.returncode == 0, checked.stdout
    assert list(folder.glob("audit/*.jsonl")), "the audit trail is in it"
    assert len(list(folder.glob("spool/images/*/*.dcm"))) == 1


def test_no_backup_goes_where_something_lies(up, small_model, secondread, tmp_path) -> None:
    service = up(small_model)
    service.data_dir.mkdir()
    (tmp_path / "notes").touch()
    for folder, words in (
        (tmp_path, "is not empty"),
        (service.data_dir / "backup", "lies inside data_dir"),
    ):
        done = secondread(service, "backup", folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
    done = secondread(service, "backup", tmp_path / "new")
    assert done.returncode == 1
    assert "there is no journal" in done.stderr
