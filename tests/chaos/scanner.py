"""The scanner: real storescu processes that send again until an image is acknowledged."""

from __future__ import annotations

import queue
import random
import shutil
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid
from pynetdicom import AE

from dicom_sr.part10 import part10_bytes
from service.still_image import wrap_pixels

SENDERS = 3
_PAUSE_SECONDS = 0.3
_ANSWER_SECONDS = 90
_ACKNOWLEDGED = "Received Store Response (Success)"


@dataclass(frozen=True)
class Sent:
    """One content under one SOP Instance UID."""

    path: Path
    uid: str


def make_image(folder: Path, number: int, uid: str | None = None) -> Sent:
    """A little greyscale scan with speckle of its own; the same UID again is other content."""
    random_numbers = np.random.default_rng(number)
    height, width = 120, 160
    depth = np.linspace(200, 60, height)[:, None]
    speckle = random_numbers.gamma(4, 0.25, (height, width))
    grey = np.clip(depth * speckle, 1, 254).astype(np.uint8)
    data_set = wrap_pixels(np.repeat(grey[..., None], 3, axis=2), f"chaos-{number}")
    data_set.SOPInstanceUID = uid or generate_uid()
    data_set.StudyInstanceUID = generate_uid()
    data_set.SeriesInstanceUID = generate_uid()
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    path = folder / f"{number:05d}.dcm"
    path.write_bytes(part10_bytes(data_set))
    return Sent(path, str(data_set.SOPInstanceUID))


@dataclass
class Scanner:
    """Sends what it is given, with ``SENDERS`` processes at a time.

    acknowledged: contents that were answered Success at least once.
    """

    port: int
    acknowledged: set[Path] = field(default_factory=set)
    attempts: int = 0
    _work: queue.Queue[Path | None] = field(default_factory=queue.Queue)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        for _ in range(SENDERS):
            thread = threading.Thread(target=self._run, daemon=True)
            thread.start()
            self._threads.append(thread)

    def send(self, *images: Sent) -> None:
        for image in images:
            self._work.put(image.path)

    def finish(self, seconds: float) -> None:
        """Wait until everything is acknowledged, at most so long."""
        deadline = time.monotonic() + seconds
        while self._work.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.1)
        self._over.set()
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(_ANSWER_SECONDS)

    def _run(self) -> None:
        while (path := self._work.get()) is not None:
            while not self._over.is_set():
                answer = self._store(path)
                with self._lock:
                    self.attempts += 1
                    if answer:
                        self.acknowledged.add(path)
                if answer:
                    break
                time.sleep(_PAUSE_SECONDS)
            self._work.task_done()

    def _store(self, path: Path) -> bool:
        """Whether the answer Success has come, whatever became of the association then."""
        command = [str(shutil.which("storescu")), "-v", "-aet", "SCANNER", "-aec", "SECONDREAD"]
        command += ["-to", "30", "-ta", "30", "-td", "60"]
        command += ["127.0.0.1", str(self.port), str(path)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return _ACKNOWLEDGED in done.stdout + done.stderr


def abort_in_mid_object(port: int, chance: random.Random) -> None:
    """Begin a C-STORE, send a part of its data set, and be gone, by A-ABORT or without a word."""
    ae = AE("SCANNER")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.1.2.1")
    association = ae.associate("127.0.0.1", port)
    if not association.is_established:
        return
    connection = association.dul.socket.socket
    fragment = b"\0" * chance.randrange(2, 4096)
    value = struct.pack(">IBB", len(fragment) + 2, 1, 0) + fragment
    try:
        connection.sendall(b"\x04\x00" + struct.pack(">I", len(value)) + value)
        if chance.random() < 0.5:
            association.abort()
        else:
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    association.kill()
