"""What a hospital expects of its hosts: each image acknowledged, and one result of each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from service.journal.journal import Journal
from service.journal.records import ImageRow, ImageState
from tests.chaos.scanner import Scanner, Sent, make_image
from tests.conftest import Orthanc, wait_until

_SECONDS = 90


class Hospital:
    """port: where scanners send to. What was sent is known by its files, made in ``folder``."""

    def __init__(self, port: int, journal: Journal, orthanc: Orthanc, folder: Path) -> None:
        self._port = port
        self.journal = journal
        self.orthanc = orthanc
        self._folder = folder
        self._number = 0

    def images(self, count: int) -> list[Sent]:
        made = [make_image(self._folder, self._number + each) for each in range(count)]
        self._number += count
        return made

    def send(self, sent: list[Sent]) -> Scanner:
        """Again and again until each is acknowledged."""
        scanner = Scanner(self._port)
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
            scanner.finish(_SECONDS)
        if scanners:
            acknowledged = set.union(*(scanner.acknowledged for scanner in scanners))
            assert acknowledged == {image.path for image in sent}
        wait_until(
            lambda: (
                all(row.state is ImageState.DELIVERED for row in self.rows(sent))
                and len(self.rows(sent)) == len(sent)
            ),
            _SECONDS,
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
