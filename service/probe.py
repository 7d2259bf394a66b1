"""The probe: a synthetic image that walks the road every few minutes, and is taken out again."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID, generate_uid

from service.config import ConfigurationError, Settings
from service.journal.journal import Journal, JournalError
from service.journal.records import PROBE_AE_TITLE, ImageRow, ImageState
from service.monitoring.metrics import Metrics
from service.scu import AssociationFailed, Peer, send_files
from service.spool import Spool
from service.still_image import wrap_pixels

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_NEVER_CAME = timedelta(days=1)
_EDGE = 256
_WORDS = "SYNTHETIC: a probe of SecondRead, no patient"


class ProbeOutcome(StrEnum):
    """How far a probe came: unreachable and refused are ingest's, late and failed the workers'."""

    PASSED = "passed"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    LATE = "late"
    FAILED = "failed"


class Probe:
    """A thread that sends a probe every ``probe.seconds``, until ``stop()``.

    A row of the journal announces each one's UID before it is sent: no other image is taken for a
    probe, whatever its sender calls itself. What it leaves is taken out before the next.
    """

    def __init__(
        self, settings: Settings, spool: Spool, journal: Journal, metrics: Metrics
    ) -> None:
        self._settings = settings.probe
        host = settings.probe.host or settings.ingest.host
        here = "127.0.0.1" if host in ("", "0.0.0.0") else host  # noqa: S104 calls, does not bind
        self._peer = Peer(
            here,
            settings.probe.port or settings.ingest.port,
            settings.ingest.ae_title,
            dimse_timeout=settings.probe.patience,
            tls=settings.probe.tls,
        )
        self._spool = spool
        self._journal = journal
        self._metrics = metrics
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
        for outcome in ProbeOutcome:
            metrics.probes.labels(outcome)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stopping.wait(self._settings.seconds):
            uid = str(generate_uid())
            try:
                outcome = self.walk(uid)
                self.take_out(uid)
            except (JournalError, OSError) as error:
                log.warning("no probe was sent: %s", type(error).__name__)
                continue
            self._metrics.probes.labels(outcome).inc()
            if outcome is not ProbeOutcome.PASSED:
                log.warning("a probe did not pass: %s", outcome)

    def walk(self, uid: str) -> ProbeOutcome:
        """Send one, and wait for what becomes of it. Raises JournalError, OSError.

        uid: its SOP Instance UID, which nothing else has.
        """
        data_set = synthetic_image(uid)
        self._journal.announce_probe(uid)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="secondread-") as folder:
            path = Path(folder) / "probe.dcm"
            data_set.save_as(path, enforce_file_format=True)
            try:
                (sent,) = send_files([path], self._peer, PROBE_AE_TITLE)
            except (AssociationFailed, ConfigurationError):
                return ProbeOutcome.UNREACHABLE
        if not sent.stored:
            return ProbeOutcome.REFUSED
        while time.monotonic() - began < self._settings.patience:
            row = self._row(uid)
            if row is not None and row.state is ImageState.FAILED:
                return ProbeOutcome.FAILED
            if row is not None and self._is_done(row):
                self._metrics.probe_seconds.observe(time.monotonic() - began)
                return ProbeOutcome.PASSED
            if self._stopping.wait(_LOOK_SECONDS):
                break
        return ProbeOutcome.LATE

    def take_out(self, uid: str) -> None:
        """This one if it is done, and what others, or earlier ones, have left.

        Files first: one without a row would be taken for an image that was not recorded. Raises
        JournalError, OSError.
        """
        older = timedelta(seconds=2 * self._settings.patience)
        finished = self._journal.finished_probes(uid, older)
        for key, parcels in finished:
            self._spool.remove_image(key)
            for parcel in parcels:
                self._spool.remove_parcel(parcel)
        self._journal.forget_probes([key for key, _ in finished], _NEVER_CAME)

    def _row(self, uid: str) -> ImageRow | None:
        keys = self._journal.keys_of(uid)
        return self._journal.image(keys[-1]) if keys else None

    def _is_done(self, row: ImageRow) -> bool:
        """It has a result; where destinations get it, they have it."""
        if row.outcome is None:
            return False
        return not row.deliveries or row.state is ImageState.DELIVERED


def synthetic_image(uid: str) -> Dataset:
    """A new study of one image, as a scanner would send it, which says what it is in words."""
    data_set = wrap_pixels(speckle(np.random.default_rng()), "probe")
    data_set.StudyInstanceUID = generate_uid()
    data_set.SeriesInstanceUID = generate_uid()
    data_set.SOPInstanceUID = UID(uid)
    data_set.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    data_set.PatientID = "SECONDREAD-PROBE"
    data_set.PatientName = "PROBE^SECONDREAD"
    data_set.StudyDescription = data_set.SeriesDescription = data_set.ImageComments = _WORDS
    data_set.QualityControlImage = "YES"
    return data_set


def speckle(generator: np.random.Generator) -> NDArray[np.uint8]:
    """``(256, 256)`` uint8: speckle with a dark disc, which is no anatomy of anybody."""
    noise = generator.rayleigh(40, (_EDGE, _EDGE))
    rows, columns = np.ogrid[:_EDGE, :_EDGE]
    disc = (rows - _EDGE / 2) ** 2 + (columns - _EDGE / 2) ** 2 < (_EDGE / 8) ** 2
    return np.clip(np.where(disc, noise / 4, noise), 1, 255).astype(np.uint8)
