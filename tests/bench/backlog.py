"""A backlog of results: as an outage of the PACS leaves it, without the analyses before it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.overlay import draw_overlay
from dicom_sr.part10 import part10_bytes
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, ImageState, ReceivedImage
from service.spool import Spool, image_key
from service.still_image import wrap_pixels

IMAGES_A_STUDY = 10
_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
_SYNTAX = "1.2.840.10008.1.2.1"
_LEASE_SECONDS = 600.0
_UID = re.compile(rb"2\.25\.\d{30,}")


class ResultFactory:
    """SR and SC of one image of 640×480, given new UIDs each time.

    Everything but the UIDs is the same, which neither we nor a PACS look at. Ten images are one
    study, whose series are shared.
    """

    def __init__(self) -> None:
        frame = np.full((480, 640, 3), 60, np.uint8)
        source = wrap_pixels(frame, "bench")
        box = Box(32, 24, 608, 456)
        cam = np.zeros((box.height, box.width), np.float32)
        cam[100:200, 200:400] = 1
        model = ModelIdentity("bench", "1", "0123456789abcdef" * 4)
        finding = Finding(1, 1, box, "content box", 0.7, 0.3, 0.5, cam)
        when = {"revision": 0, "started_at": datetime(2026, 3, 1, tzinfo=UTC)}
        overlay = draw_overlay(frame, finding, model)
        made = {
            "sr.dcm": build_report(source, finding, model, **when),
            "sc.dcm": build_secondary_capture(source, overlay, finding, model, **when),
        }
        self._files = {name: part10_bytes(data_set) for name, data_set in made.items()}
        self._study = {
            str(getattr(data_set, keyword)).encode()
            for data_set in (source, *made.values())
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID")
        }

    @property
    def bytes_each(self) -> int:
        """Of one result, both files."""
        return sum(map(len, self._files.values()))

    def make(self, number: int) -> dict[str, bytes]:
        """The files by name. number: below ten million, of the result."""

        def renamed(found: re.Match[bytes]) -> bytes:
            uid = found[0]
            here = number // IMAGES_A_STUDY if uid in self._study else number
            return uid[:-7] + b"%07d" % here

        # The last seven digits: 2.25 and up to 39 others, the first ones differ between objects.
        return {name: _UID.sub(renamed, content) for name, content in self._files.items()}


def numbered(factory: ResultFactory, first: int, count: int) -> Iterator[dict[str, bytes]]:
    return (factory.make(number) for number in range(first, first + count))


def leave(
    spool: Spool, journal: Journal, results: Iterator[dict[str, bytes]], destinations: Sequence[str]
) -> None:
    """Record an analysed image for each result, due for delivery to every destination.

    Each has been tried once and failed, so that no message is under way and the keeper finds it.
    The files are not synced one by one: what is measured comes later.
    """
    for files in results:
        uid = f"1.2.{_UID.findall(files['sr.dcm'])[0].decode()}"
        key = image_key(uid, _SYNTAX, "d")
        now = datetime.now(UTC)
        journal.record_received(ReceivedImage(key, uid, _ULTRASOUND, _SYNTAX, "d", 1, "BENCH", now))
        job = journal.lease_analysis(key, _LEASE_SECONDS)
        if job is None:
            raise RuntimeError("the backlog's images are not new")
        write_files(spool.results_folder(key), files)
        names = tuple(files)
        outcome = AnalysisOutcome(ImageState.ANALYSED, "ab" * 32, objects=names)
        journal.record_outcome(job, outcome, dict.fromkeys(destinations, names))
        for destination in destinations:
            attempt = journal.lease_delivery(key, destination, _LEASE_SECONDS)
            if attempt is not None:
                journal.record_delivery_failure(attempt, "no connection", 0, refused=False)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
