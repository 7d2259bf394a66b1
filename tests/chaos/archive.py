"""The second PACS: keeps count, and has moods."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from pathlib import Path

from pynetdicom import evt

from service.storage_scp import LocalArchive


class MoodyArchive(LocalArchive):
    """mood: what it does with objects now: ``""`` stores, ``hang``, ``drop``, or a status."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(folder, port=port)
        self.mood: str | int = ""
        self.came: Counter[str] = Counter()
        self.met = 0
        self._lock = threading.Lock()

    def store(self, event: evt.Event) -> int:
        mood = self.mood
        if mood != "":
            self.met += 1
        if mood == "hang":
            time.sleep(4)
        if mood == "drop":
            connection = event.assoc.dul.socket.socket
            if connection is not None:
                connection.shutdown(socket.SHUT_RDWR)
            return 0x0110
        if isinstance(mood, int):
            return mood
        status = super().store(event)
        if status == 0:
            with self._lock:
                self.came[str(event.request.AffectedSOPInstanceUID)] += 1
        return status
